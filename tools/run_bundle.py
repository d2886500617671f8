"""Top classes of a video by a bundle of export.py:  python run_bundle.py BUNDLE VIDEO [RATE]"""

import json
import sys
import zipfile

import av
import numpy as np
import onnxruntime


def resize(frame, height, width, antialias=True):  # as PyTorch does with bytes, to the bit
    for axis, size in ((1, width), (0, height)):
        reach = max(step := frame.shape[axis] / size, 1.0) ** antialias
        middles = (np.arange(size)[:, None] + 0.5) * step
        parts = np.clip(1 - abs(np.arange(frame.shape[axis]) + 0.5 - middles) / reach, 0, None)
        parts /= parts.sum(1, keepdims=True)
        bits = next(b for b in range(23) if b == 22 or parts.max() * 2 ** (b + 1) >= 2**15 - 0.5)
        sums = np.tensordot(frame.astype(float), np.trunc(parts * 2**bits + 0.5), (axis, 1))
        frame = np.floor(np.moveaxis(sums, 2, axis) / 2**bits + 0.5).clip(0, 255).astype(np.uint8)
    return frame


def see(frame, rule):  # a decoded frame as the network's pixels
    h, w = frame.height, frame.width
    if 0 < rule["decode_short_side"] < min(h, w):
        h, w = (round(side * rule["decode_short_side"] / min(h, w)) for side in (h, w))
    pixels = np.rot90(resize(frame.to_ndarray(format="rgb24"), h, w), round(frame.rotation / 90))
    h, w, short, size = *pixels.shape[:2], rule["short_side"], rule["size"]
    if short:
        pixels = resize(pixels, *(int(s / min(h, w) * short) for s in (h, w)), rule["antialias"])
    side = size if short else min(h, w)
    y, x = (int(getattr(np, rule["rounding"])((whole - side) / 2)) for whole in pixels.shape[:2])
    return resize(pixels[y : y + side, x : x + side], size, size)


def read(path, rule, num_frames):  # frames of the steady timeline, and their pixels (T, S, S, 3)
    with av.open(path) as file:
        stream = file.streams.best("video")
        frames, fps = list(file.decode(stream)), stream.average_rate or stream.guessed_rate or 25
    pts, count, i = [frame.pts for frame in frames], len(frames), np.arange(num_frames)
    times, fps = np.arange(count) / float(fps), float(fps)
    if None not in pts and file.format.name != "avi":
        times = (np.array(pts) - pts[0]) * float(stream.time_base)
        end = times[-1] + (frames[-1].duration * stream.time_base or np.median(np.diff(times)))
        fps = fps if abs(end * fps - count) < 0.1 else count / end
    span = max(rule["span"] * fps / rule["fps"], 1.0)  # 0: all of the video, in equal parts
    start = max(count - span, 0) * rule["place"] + (num_frames == 1) * (span - 1) / 2
    low, high = np.float32([start, start + span - 1])
    step = (high - low) / np.float32(max(num_frames - 1, 1)) * np.float64(1)  # rounded once
    dense = np.where(i < max(num_frames // 2, 1), low + step * i, high - step * i[::-1])
    where = dense.astype(np.float32) if rule["span"] else (i + 0.5) * (count / num_frames)
    indices = where.clip(0, count - 1).astype(int)
    shown = np.searchsorted(times, (indices + 0.5) / fps, side="right") - 1
    return indices, np.stack([see(frames[i], rule) for i in shown])


def main(path, video, rate=""):  # (class, score), best first
    with zipfile.ZipFile(path) as file:
        rates = (about := json.loads(file.read("bundle.json")))["rates"]
        chosen = rates.get(rate or [*rates][-1]) or sys.exit(f"no rate {rate}, but {[*rates]}")
        session = onnxruntime.InferenceSession(file.read(chosen["file"]))
    pixels = read(video, about["reading"], chosen["num_frames"])[1]
    clip = (pixels / np.float32(255) - np.float32(about["mean"])) / np.float32(about["std"])
    clip = (clip[..., ::-1] if about["bgr"] else clip).transpose(3, 0, 1, 2)[None]
    scores = session.run(["scores"], {"clip": clip})[0][0].tolist()
    return sorted(zip(about["labels"], scores, strict=True), key=lambda pair: -pair[1])


if __name__ == "__main__":
    sys.excepthook = lambda kind, error, _: print(f"error: {error}", file=sys.stderr)
    print(*main(*sys.argv[1:])[:5] if len(sys.argv) in (3, 4) else sys.exit(__doc__), sep="\n")
