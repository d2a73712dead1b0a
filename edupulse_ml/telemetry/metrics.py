"""Prometheus expositions of several sources as one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import CollectorRegistry, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


@dataclass(frozen=True)
class GaugeFamily:
    """A gauge with its samples. Every sample has the same label names; no label holds student data."""

    name: str
    documentation: str
    samples: Sequence[tuple[Mapping[str, str], float]]


def gauges_exposition(families: Iterable[GaugeFamily]) -> str:
    """The gauges in the Prometheus text format; those without samples are left out."""
    told: list[Metric] = []
    for family in families:
        if family.samples:
            labels = list(family.samples[0][0])
            gauge = GaugeMetricFamily(family.name, family.documentation, labels=labels)
            for values, value in family.samples:
                gauge.add_metric([values[label] for label in labels], value)
            told.append(gauge)
    return _exposition(told)


def merge_expositions(texts: Iterable[str], *, prefixes: Sequence[str], drop_labels: Iterable[str] = ()) -> str:
    """The families of all `texts` whose name starts with one of `prefixes`, each family once, by name.

    `drop_labels` are labels that tell nothing. Samples are otherwise kept as they are: sources must differ in a label
    (Ray's nodes and workers do); of equal ones the first is kept.
    """
    dropped = frozenset(drop_labels)
    families: dict[str, Metric] = {}
    seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    for text in texts:
        for family in text_string_to_metric_families(_lines_of(text, tuple(prefixes))):
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                labels = {name: value for name, value in sample.labels.items() if name not in dropped}
                key = (sample.name, tuple(sorted(labels.items())))
                if key not in seen:
                    seen.add(key)
                    merged.samples.append(sample._replace(labels=labels))
    return _exposition([families[name] for name in sorted(families)])


def _exposition(families: Sequence[Metric]) -> str:
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry).decode()


def _lines_of(text: str, prefixes: tuple[str, ...]) -> str:
    """The lines about the wanted families; parsing all of an agent's thousands of lines takes most of a second."""
    return "\n".join(_wanted_lines(text, prefixes)) + "\n"


def _wanted_lines(text: str, prefixes: tuple[str, ...]) -> Iterator[str]:
    for line in text.splitlines():
        name = line.split(" ", 3)[2] if line.startswith(("# HELP ", "# TYPE ")) else line
        if name.startswith(prefixes):
            yield line


class _Families(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
