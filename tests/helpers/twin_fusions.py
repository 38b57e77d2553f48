"""How the PyTorch twin segments a frame with several references: the fusions of the paper and of the released code."""

from __future__ import annotations

from cosnet_jax.interop.twin import PairModel, to_probabilities, torch


def segment(twin: PairModel, query: torch.Tensor, references: torch.Tensor, fusion: str) -> torch.Tensor:
    """Predicts the mask of a query from several references, with branch a.

    Args:
        query: (n, 3, h, w) float32.
        references: (k, n, 3, h, w) float32: k references for each query.
        fusion: "prediction" (the release: mean of k pair predictions), "summary" (Eq. 13: mean of k gated summaries),
            "group" (one softmax over all k h w positions), or "group_released" (the same, after a softmax over i, which
            the released group model applies first by mistake).

    Returns:
        (n, 1, h, w) probabilities.
    """
    v_a = twin.encoder(query)[0]
    v_b = torch.stack([twin.encoder(reference)[0] for reference in references])  # (k, n, c, h, w)
    if fusion.startswith("group"):
        v_b = torch.cat(list(v_b.flatten(3)), dim=2)[None]  # one reference of k h w positions: (1, n, c, j)
    summaries = []
    for v in v_b:
        s = twin.affinity(v_a, v)
        if fusion == "group_released":
            s = s.softmax(dim=1)
        z = torch.einsum("nij,ncj->nci", s.softmax(dim=2), v.flatten(2)).reshape(v_a.shape)
        summaries.append(twin.gated(z)[0])
    if fusion == "summary":
        summaries = [torch.stack(summaries).mean(dim=0)]
    predictions = [to_probabilities(twin.head_a(z, v_a), query.shape[2:]) for z in summaries]
    return torch.stack(predictions).mean(dim=0)
