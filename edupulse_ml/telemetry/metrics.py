"""Prometheus expositions of several sources as one."""

from collections.abc import Iterable, Sequence

from prometheus_client.core import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


def merge_expositions(texts: Iterable[str], *, prefixes: Sequence[str]) -> str:
    """The families of all `texts` whose name starts with one of `prefixes`, each family once, by name.

    Samples are kept as they are: sources must differ in a label (Ray's replicas and nodes do), equal ones are kept
    once.
    """
    families: dict[str, Metric] = {}
    seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    for text in texts:
        for family in text_string_to_metric_families(text):
            if not family.name.startswith(tuple(prefixes)):
                continue
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                if key not in seen:
                    seen.add(key)
                    merged.samples.append(sample)
    registry = CollectorRegistry()
    registry.register(_Families([families[name] for name in sorted(families)]))
    return generate_latest(registry).decode()


class _Families(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
