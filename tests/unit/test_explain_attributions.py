"""Integrated gradients against captum, completeness, and verification by occlusion, on a small recurrent network."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients

from edupulse_ml.core.contract import FEATURES
from edupulse_ml.core.outcomes import risk_task
from edupulse_ml.explain.attributions import RiskLogit, integrated_gradients
from edupulse_ml.explain.concepts import CONCEPTS, by_concept
from edupulse_ml.explain.explanation import _held, _Worded
from edupulse_ml.explain.verification import Candidate, verify, verify_together
from edupulse_ml.models.gru import interval_logit

N_STUDENTS, N_STEPS, N_FEATURES = 6, 8, len(FEATURES)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.ModuleList([torch.nn.GRU(N_FEATURES, 16, batch_first=True), torch.nn.Linear(16, 5)]).eval()


def _logit(network: torch.nn.Module) -> RiskLogit:
    def risk_logit(z_RTF: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        gru, head = network
        return interval_logit(head(gru(z_RTF)[0][:, -1]) - 2, risk_task())

    return risk_logit


@pytest.fixture(scope="module")
def z_BTF() -> torch.Tensor:
    return torch.randn(N_STUDENTS, N_STEPS, N_FEATURES, generator=torch.Generator().manual_seed(5))


def test_attributions_are_complete(network: torch.nn.Module, z_BTF: torch.Tensor) -> None:
    risk_logit = _logit(network)
    rows = torch.arange(N_STUDENTS)
    attribution = integrated_gradients(risk_logit, z_BTF)
    with torch.no_grad():
        difference = (risk_logit(z_BTF, rows) - risk_logit(torch.zeros_like(z_BTF), rows)).numpy()
    assert np.abs(attribution.sum(axis=(1, 2)) - difference).max() <= 1e-3


def test_attributions_agree_with_captum(network: torch.nn.Module, z_BTF: torch.Tensor) -> None:
    risk_logit = _logit(network)
    rows = torch.arange(N_STUDENTS)
    reference = IntegratedGradients(lambda z: risk_logit(z, rows)).attribute(
        z_BTF, n_steps=32, internal_batch_size=None, method="gausslegendre"
    )

    def repeated(z_RTF: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
        return risk_logit(z_RTF, owner)

    ours = integrated_gradients(repeated, z_BTF)
    assert np.abs(ours - reference.numpy()).max() <= 1e-4


def test_one_student_alone_equals_the_same_student_in_a_batch(network: torch.nn.Module, z_BTF: torch.Tensor) -> None:
    risk_logit = _logit(network)
    together = integrated_gradients(risk_logit, z_BTF)
    alone = integrated_gradients(risk_logit, z_BTF[2:3])
    assert np.abs(together[2] - alone[0]).max() <= 1e-5


def test_a_wrong_claim_is_not_verified(network: torch.nn.Module, z_BTF: torch.Tensor) -> None:
    risk_logit = _logit(network)
    effects = by_concept(integrated_gradients(risk_logit, z_BTF))
    true_claims, false_claims = [], []
    for student in range(N_STUDENTS):
        concept = int(np.abs(effects[student]).argmax())
        effect = float(effects[student, concept])
        true_claims.append(Candidate(student, concept, effect))
        false_claims.append(Candidate(student, concept, -effect))
    assert verify(risk_logit, z_BTF, true_claims).holds.mean() >= 0.8
    wrong = verify(risk_logit, z_BTF, false_claims)
    assert not wrong.holds.any()
    assert not wrong.right_direction[verify(risk_logit, z_BTF, true_claims).holds].any()


def test_all_candidates_are_verified_in_one_forward_pass(network: torch.nn.Module, z_BTF: torch.Tensor) -> None:
    calls = []
    inner = _logit(network)

    def counted(z_RTF: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
        calls.append(len(z_RTF))
        return inner(z_RTF, owner)

    candidates = [Candidate(student, concept, 1.0) for student in (1, 4) for concept in range(len(CONCEPTS))]
    verify(counted, z_BTF, candidates)
    assert calls == [2 + len(candidates)]


def test_concepts_that_stand_in_for_one_another_hold_together() -> None:
    def saturated(z_RTF: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return 3 * torch.tanh(z_RTF[:, :, [c.positions[0] for c in CONCEPTS[:3]]].sum(dim=(1, 2)))

    z_BTF = torch.zeros(1, 1, N_FEATURES)
    z_BTF[0, 0, [c.positions[0] for c in CONCEPTS[:3]]] = 2.0
    claims = [Candidate(0, concept, 1.0) for concept in range(3)]
    alone = verify(saturated, z_BTF, claims)
    assert not alone.holds.any()
    assert alone.right_direction.all()
    assert verify_together(saturated, z_BTF, [claims]).tolist() == [True]
    exaggerated = [Candidate(0, concept, 2.5) for concept in range(3)]
    assert verify_together(saturated, z_BTF, [exaggerated]).tolist() == [False]


def test_a_saturated_student_is_shown_what_holds_together_and_nothing_of_the_wrong_direction() -> None:
    first = [concept.positions[0] for concept in CONCEPTS[:4]]

    def saturated(z_RTF: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        z_R4 = z_RTF[:, :, first].sum(dim=1)
        return 3 * torch.tanh(z_R4[:, :3].sum(dim=1)) - 0.1 * z_R4[:, 3]

    z_BTF = torch.zeros(1, 1, N_FEATURES)
    z_BTF[0, 0, first] = 2.0
    worded = [_Worded(Candidate(0, concept, 1.0), "text") for concept in range(4)]
    assert _held(saturated, z_BTF, worded).tolist() == [True, True, True, False]
