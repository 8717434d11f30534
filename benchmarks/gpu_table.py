"""What a run on a GPU found, as text for the terminal and as Markdown for the page of benchmarks."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu_rows import PEER

NOT_MEASURED = "GPU: not yet measured. `python -m benchmarks.gpu` measures it, on a machine that has one."


def number(value: float) -> str:
    """Three figures are all that a measurement has."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def _median(side: dict[str, Any] | None, which: str) -> str:
    return number(side[which]["median"]) if side and which in side else "–"


def _share(row: dict[str, Any]) -> str:
    return f"{100 * row['floor']['both']['share']:.0f} %" if "floor" in row else "–"


def state_of(row: dict[str, Any]) -> str:
    """Return what there is to say about a row in a word or a few."""
    if "skipped" in row:
        return str(row["skipped"])
    ours, peer = row.get("check", {}), row.get(PEER, {})
    if ours and not ours["agrees"]:
        return "WRONG: differs from the CPU"
    if "ours" not in row:
        return f"failed: {row.get('failed', 'nothing measured')}"
    if not row["ours"]["on_stream"]:
        return "events missed work"
    if "failed" in peer:
        return f"cuDNN failed: {peer['failed']}"
    if peer and not peer.get("check", {}).get("agrees", True):
        return "cuDNN differs from the CPU"
    if "failed" in row:
        return f"failed: {row['failed']}"
    if row.get("met") is None:
        return "no target" if row["target"] is None else "no ratio"
    return "met" if row["met"] else "MISSED"


def _launch_plan(row: dict[str, Any]) -> str:
    def one(launch_plan: dict[str, Any]) -> str:
        tiles = "+".join(f"{t['registers']}/{t['shared']}/{t['streamed']}" for t in launch_plan["tiles"])
        return f"{launch_plan['blocks']}x{launch_plan['threads']}x{launch_plan['sequences']} {tiles}"

    return " | ".join(one(d) for d in row["launch_plan"].values()) if "launch_plan" in row else "–"


def text_table(rows: list[dict[str, Any]]) -> str:
    """For the terminal: microseconds a step; every row, lost ones too."""
    head = (
        f"{'us a step':34s}{'forward':>9s}{'backward':>9s}{'both':>8s}{'floor':>7s}{'cuDNN':>9s}{'ratio':>8s}"
        f"{'target':>7s}  {'':8s}blocks x threads x sequences, slice in registers/shared/streamed; T"
    )
    lines = [head]
    for row in rows:
        ours, peer = row.get("ours"), row.get(PEER)
        ratio = number(row["ratio"]["both"]) if "ratio" in row else "–"
        target = "–" if row["target"] is None else f"{row['target']:g}"
        steps = "–" if not ours else f"{ours['steps']:,}"
        if peer and "steps" in peer:
            steps += f" (cuDNN {peer['steps']:,})"
        lines.append(
            f"{row['key']:34s}{_median(ours, 'forward'):>9s}{_median(ours, 'backward'):>9s}"
            f"{_median(ours, 'both'):>8s}{_share(row):>7s}{_median(peer, 'both'):>9s}{ratio:>8s}{target:>7s}"
            f"  {state_of(row)[:90]:8s} {_launch_plan(row)}; {steps}"
        )
    return "\n".join(lines)


def _cost(barrier: dict[str, Any]) -> str:
    if "failed" in barrier:
        return f"failed: {barrier['failed']}"
    return f"{barrier['us']:.3g} us, {barrier['cycles']:.0f} cycles"


def text_barriers(barriers: dict[str, Any]) -> str:
    """For the terminal."""
    lines = []
    for kind in ("bar_sync", "exchange", "grid_sync"):
        for barrier in barriers.get(kind, []):
            what = ", ".join(f"{barrier[k]} {k}" for k in ("blocks", "threads", "numbers") if k in barrier)
            lines.append(f"{kind:10s} {what:38s} {_cost(barrier)}")
    copy = barriers.get("copy")
    if copy:
        lines.append(
            f"copy       {copy.get('failed') or '{:,.0f} GB/s, read and written'.format(copy['gb_per_second'])}"
        )
    return "\n".join(lines)


def text_flow(flow: dict[str, Any]) -> str:
    """For the terminal."""
    lines = []
    for part in flow.get("parts", []):
        what = f"gradient_flow lstm H={flow['hidden_size']} B=1, {part['directions']} direction(s)"
        for device in ("cuda", "cpu"):
            if f"{device}_seconds" in part:
                lines.append(
                    f"{what}, {part['steps']:,} steps on {device}: {part[f'{device}_seconds']:.2f} s"
                )
            elif f"{device}_us_per_step_short" in part:
                us = part[f"{device}_us_per_step_short"]
                lines.append(f"{what}, {part['short_steps']:,} steps on {device}: {us:.3g} us a step")
        if "failed" in part:
            lines.append(f"{what}: failed: {part['failed']}")
        elif not part.get("agrees", True):
            lines.append(f"{what}: DIFFERS from the CPU by {part['difference']}")
    return "\n".join(lines)


# ---- Markdown -------------------------------------------------------------------------------------------------------


def _ratio(row: dict[str, Any]) -> str:
    if "ratio" not in row or state_of(row) not in ("met", "MISSED", "no target"):
        return f"**{_escaped(state_of(row))}**"
    value = number(row["ratio"]["both"])
    if row["target"] is None:
        return value
    return f"{value} (≥ {row['target']:g})" if row["met"] else f"**{value}** (≥ {row['target']:g}, missed)"


def _escaped(text: str) -> str:
    text = text if len(text) <= 60 else text[:59] + "…"
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def markdown(data: dict[str, Any] | None) -> str:
    """Return the GPU part of the page of benchmarks, from the JSON of `benchmarks.gpu`; None: there has been no run.

    Raises
    ------
    ValueError
        If the run was a quick one, or of some rows only.
    """
    if data is None:
        return NOT_MEASURED
    if data["protocol"]["quick"] or data["protocol"]["patterns"]:
        raise ValueError("it is of a quick run or of a few rows, which make no table")
    lines = []
    for dtype in dict.fromkeys(row["dtype"] for row in data["rows"]):
        lines += [
            f"| {dtype} | ours, forward | ours, backward | both | cuDNN, both | ratio |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for row in data["rows"]:
            if row["dtype"] != dtype:
                continue
            ours, peer = row.get("ours"), row.get(PEER)
            share = f" ({_share(row)})" if "floor" in row else ""
            cell = f"{row['cell'].upper()} B={row['batch']} I={row['input_size']} H={row['hidden_size']}"
            cells = [
                cell, _median(ours, "forward"), _median(ours, "backward"), _median(ours, "both") + share,
                _median(peer, "both"), _ratio(row),
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    judged = [row["met"] for row in data["rows"] if row["target"] is not None]
    lines += [
        "µs a step; in brackets the share of that time that the chain of dependent operations needs at least. cuDNN"
        " through torch.nn, TF32 off; the ratio is its time / ours, forward and backward, with the target."
        f" {sum(value is True for value in judged)} of {len(judged)} targets are met.",
        "",
    ]
    flat = ", ".join(f"{f['cell'].upper()} {number(f['ratio_256_to_1'])}" for f in data.get("flatness", []))
    if flat:
        lines += [f"A step of 256 sequences takes, in times of a step of one (H = 64): {flat}.", ""]
    lines += [_waits(data.get("barriers", {})), ""] if _waits(data.get("barriers", {})) else []
    tests, gpu = data.get("tests", {}), data["provenance"]["gpu"]
    versions = data["provenance"]["versions"]
    names = [("gatescope", versions.get("gatescope")), ("numba-cuda", gpu.get("cuda", {}).get("numba-cuda"))]
    torch = gpu.get("torch", {})
    names += [("PyTorch", torch.get("version")), ("cuDNN", torch.get("cudnn_version"))]
    lines.append(
        f"{gpu['gpu']}, driver {gpu.get('driver', 'unknown')}, {data['provenance']['date']};"
        f" {', '.join(f'{title} {value}' for title, value in names if value)}."
        + (f" {tests['passed']} CUDA tests passed there, {len(tests['failed'])} failed." if tests else "")
        + " How it is measured: [benchmarks/README.md](../benchmarks/README.md)."
    )
    return "\n".join(lines)


def _waits(barriers: dict[str, Any]) -> str:
    """One sentence on what waiting costs, for the sizes that were measured."""
    parts = []
    for kind, title in (
        ("bar_sync", "a barrier in a block"),
        ("exchange", "an exchange"),
        ("grid_sync", "grid.sync"),
    ):
        good = [f for f in barriers.get(kind, []) if "us" in f]
        bits = [
            f"{number(f['us'])} µs ({', '.join(f'{f[k]} {k}' for k in ('blocks', 'threads', 'numbers') if k in f)})"
            for f in good
            if kind == "bar_sync" or f["threads"] == max(g["threads"] for g in good)
        ]
        if bits:
            parts.append(f"{title} {', '.join(bits)}")
    return f"What waiting costs: {'; '.join(parts)}." if parts else ""
