"""Files in, canonical record tables out: CSV or Parquet folders and OULAD."""
