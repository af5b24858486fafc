"""Makes films of a bus door from above: people are ellipses that walk, touch, meet and turn back.

They are drawings: what is counted in them says that the geometry holds, and no more.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

SIZE = (240, 320)
FPS = 15.0
PASSAGES = 14


@dataclass
class Walker:
    """Somebody drawn: from where, when, how fast, and where they turn back."""

    x: float
    drift: float
    begin: float
    end: float
    at: int
    speed: float
    half: float
    clothes: list[float]
    hair: list[float]
    turn: float | None = None

    def place(self, frame: int) -> float | None:
        """Return the height of the body's centre, or None where it is out of view."""
        steps = frame - self.at
        way = 1 if self.end > self.begin else -1
        y = self.begin + way * self.speed * steps
        if self.turn is not None:
            there = abs(self.turn - self.begin) / self.speed
            if steps > there:
                y = self.turn - way * self.speed * max(0.0, steps - there - 10)
        return y if steps >= 0 and -60 < y < SIZE[0] + 60 else None


def crowd(chance: np.random.Generator, half: float) -> list[Walker]:
    """Return walkers with `PASSAGES` passages: alone, side by side, meeting, turning back."""
    height, width = SIZE
    walkers: list[Walker] = []
    at, passages = 14, 0

    def add(x: float, down: bool, at: int, speed: float, turn: float | None = None) -> None:
        ends = (-50.0, height + 50.0) if down else (height + 50.0, -50.0)
        clothes = chance.integers(10, 230, 3).astype(float)
        if chance.random() < 0.3:
            clothes = 20 + chance.integers(-8, 14, 3).astype(float)
        walkers.append(
            Walker(
                x, chance.uniform(-15, 15), *ends, at, speed, half * chance.uniform(0.85, 1.15),
                clothes.tolist(), chance.integers(5, 90, 3).astype(float).tolist(), turn,
            )
        )  # fmt: skip

    while passages < PASSAGES:
        down, speed, kind = chance.random() < 0.5, chance.uniform(4, 8), chance.random()
        two = passages <= PASSAGES - 2
        if kind < 0.3 and two:
            gap = half * chance.uniform(2.0, 2.5)
            x = chance.uniform(50, width - 50 - gap)
            add(x, down, at, speed)
            add(x + gap, down, at + int(chance.integers(0, 4)), speed)
            passages += 2
        elif kind < 0.42:
            line = height / 2 + (-8 if down else 8) * chance.random()
            add(chance.uniform(60, width - 60), down, at, speed, line)
        elif kind < 0.55 and two:
            x = chance.uniform(45, width / 2 - 1.3 * half)
            add(x, down, at, speed)
            other = x + 2.6 * half + chance.uniform(0, 60)
            add(other, not down, at + int(chance.integers(0, 6)), chance.uniform(4, 8))
            passages += 2
        else:
            add(chance.uniform(40, width - 40), down, at, speed)
            passages += 1
        at += int(chance.uniform(25, 60))
    return walkers


def walk(chance: np.random.Generator, times: int) -> list[Walker]:
    """Return somebody who walks down and up again, so many times each."""
    height, width = SIZE
    clothes, hair = chance.integers(10, 80, 3).tolist(), chance.integers(5, 90, 3).tolist()
    ends = ((-50.0, height + 50.0), (height + 50.0, -50.0))
    return [
        Walker(width / 2, 0.0, *ends[way % 2], 14 + 50 * way, 8.0, 26.0, clothes, hair)
        for way in range(2 * times)
    ]


def film(path: Path, seed: int, half: float, floor: float) -> tuple[int, int]:
    """Write a film of a crowd; return its true passages downwards and upwards."""
    chance = np.random.default_rng(seed)
    walkers = crowd(chance, half)
    write(path, walkers, chance, floor)
    passing = [w for w in walkers if w.turn is None]
    down = sum(w.end > w.begin for w in passing)
    return down, len(passing) - down


def write(path: Path, walkers: list[Walker], chance: np.random.Generator, floor: float) -> None:
    """Write a film of walkers on a floor of some grey."""
    height, width = SIZE
    grain = cv2.resize(chance.normal(floor, 6, (height // 8, width // 8, 3)), (width, height))
    base = np.clip(grain + chance.normal(0, 2, (height, width, 3)), 0, 255)
    base[height // 2 - 2 : height // 2 + 2] += 25
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (width, height))
    for frame in range(max(w.at for w in walkers) + 120):
        image = base * (1 + 0.05 * np.sin(frame / 70))
        for walker in walkers:
            y = walker.place(frame)
            if y is not None:
                draw(image, walker, y, frame)
        noisy = cv2.GaussianBlur(image, (3, 3), 0) + chance.normal(0, 4, image.shape)
        writer.write(np.clip(noisy, 0, 255).astype(np.uint8))
    writer.release()


def draw(image: np.ndarray, walker: Walker, y: float, frame: int) -> None:
    """Draw a shadow, two feet, shoulders and a head."""
    half, x = walker.half, walker.x + walker.drift * y / SIZE[0]
    swing = float(np.sin((frame - walker.at) / 2.2 + walker.x))
    shade = image.copy()
    size = (int(1.1 * half), int(0.75 * half))
    cv2.ellipse(shade, (int(x + 10), int(y + 8)), size, 0, 0, 360, (0, 0, 0), -1)
    image[:] = 0.75 * image + 0.25 * shade
    for side in (-1, 1):
        foot = (int(x + side * 0.4 * half), int(y - side * swing * 0.8 * half))
        size = (int(0.3 * half), int(0.45 * half))
        cv2.ellipse(image, foot, size, 0, 0, 360, (30, 30, 35), -1)
    size = (int(half), int(0.6 * half))
    cv2.ellipse(image, (int(x), int(y)), size, 8 * swing, 0, 360, walker.clothes, -1)
    cv2.circle(image, (int(x), int(y)), int(0.42 * half), walker.hair, -1)
