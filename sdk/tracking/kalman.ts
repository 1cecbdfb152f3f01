/**
 * Where a box will be: a Kalman filter of constant velocity over its middle and its size, each axis by itself (Kalman
 * 1960; the state of SORT, Bewley et al. 2016, with velocities for the size as well).
 */
import type { Box } from '../core/types.js';

/** Fractions of the frame: how far a box is from where the thing is, one standard deviation. */
const MEASUREMENT_DEVIATION = 0.015;
/** Fractions of the frame per second²: how suddenly things speed up. */
const ACCELERATION_DEVIATION = 0.6;
/** Fractions of the frame per second: how fast a thing may be when it is first seen. */
const FIRST_SPEED_DEVIATION = 0.4;
/** Without a sighting a thing is taken to slow down: after so many seconds a third of its speed is left. */
const COASTING_SECONDS = 0.8;

/** One axis: value and velocity with their covariance. */
interface Axis {
  value: number;
  velocity: number;
  varValue: number;
  covariance: number;
  varVelocity: number;
}

/** Follows one box. Coordinates are fractions of the frame, times are seconds. */
export class BoxFilter {
  readonly #axes: readonly Axis[];

  constructor(box: Box) {
    this.#axes = measuresOf(box).map((value) => ({
      value,
      velocity: 0,
      varValue: MEASUREMENT_DEVIATION ** 2,
      covariance: 0,
      varVelocity: FIRST_SPEED_DEVIATION ** 2,
    }));
  }

  /** Where it is now, as far as is known. */
  get box(): Box {
    const [x, y, width, height] = this.#axes.map(({ value }) => value) as [number, number, number, number];
    const [halfWidth, halfHeight] = [Math.max(width, 1e-4) / 2, Math.max(height, 1e-4) / 2];
    return { x1: x - halfWidth, y1: y - halfHeight, x2: x + halfWidth, y2: y + halfHeight };
  }

  /** One standard deviation of where its middle is, fractions of the frame. */
  get deviation(): number {
    return Math.sqrt(this.#axes[0]!.varValue + this.#axes[1]!.varValue);
  }

  /** So much time has gone by. */
  predict(seconds: number): void {
    // The distance covered while the speed decays exponentially.
    const kept = Math.exp(-seconds / COASTING_SECONDS);
    const reach = COASTING_SECONDS * (1 - kept);
    const noise = ACCELERATION_DEVIATION ** 2;
    for (const axis of this.#axes) {
      const { varValue, covariance, varVelocity } = axis;
      axis.value += axis.velocity * reach;
      axis.velocity *= kept;
      axis.varValue = varValue + 2 * reach * covariance + reach * reach * varVelocity + (noise * reach ** 4) / 4;
      axis.covariance = kept * (covariance + reach * varVelocity) + (noise * reach ** 3) / 2;
      axis.varVelocity = kept * kept * varVelocity + noise * reach * reach;
    }
  }

  /** It was seen there. */
  correct(box: Box): void {
    const measures = measuresOf(box);
    for (const [i, axis] of this.#axes.entries()) {
      const sum = axis.varValue + MEASUREMENT_DEVIATION ** 2;
      const [gain, velocityGain] = [axis.varValue / sum, axis.covariance / sum];
      const off = measures[i]! - axis.value;
      axis.value += gain * off;
      axis.velocity += velocityGain * off;
      axis.varVelocity -= velocityGain * axis.covariance;
      axis.covariance *= 1 - gain;
      axis.varValue *= 1 - gain;
    }
  }
}

/** Middle and size. */
function measuresOf({ x1, y1, x2, y2 }: Box): [number, number, number, number] {
  return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1];
}
