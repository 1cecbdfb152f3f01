import type { LensProgress } from '../../../../../api/calibration-schemas.js';

/** As many corners in a part of the picture as make it as green as it gets. */
const FULL = 30;

/** Over the live picture: green where the board was seen already, dots where it is now. */
export function CoverageOverlay({ progress }: { readonly progress: LensProgress }) {
  const { rows, columns, corners, points, covered } = progress;
  return (
    <>
      <svg
        viewBox={`0 0 ${columns} ${rows}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${Math.round(100 * covered)} % of the picture covered`}
      >
        {corners.map((count, index) => (
          <rect
            key={index}
            x={index % columns}
            y={Math.floor(index / columns)}
            width={1}
            height={1}
            class={count > 0 ? 'seen' : undefined}
            fill-opacity={count > 0 ? 0.15 + 0.35 * Math.min(1, count / FULL) : 0}
          />
        ))}
      </svg>
      {points.map(({ x, y }, index) => (
        <span key={index} class="point" style={{ left: `${100 * x}%`, top: `${100 * y}%` }} />
      ))}
    </>
  );
}
