"""Search for settings: Ray Tune runs the trials, Optuna proposes them, and one study on disk outlives the driver."""
