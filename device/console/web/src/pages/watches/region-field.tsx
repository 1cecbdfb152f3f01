import { useRef, useState } from 'preact/hooks';
import type { WatchDefinition } from '../../../../api/watch-schemas.js';

type Region = WatchDefinition['region'];
type Corner = readonly [x: number, y: number];

export interface RegionFieldProps {
  readonly camera: string | undefined;
  readonly region: Region;
  readonly onChange: (region: Region) => void;
}

const MAX_CORNERS = 32;
/** Of the picture, for each press of an arrow key. */
const STEP = 0.02;

/** A polygon drawn over a still of the camera; each corner can also be moved with the arrow keys. */
export function RegionField({ camera, region, onChange }: RegionFieldProps) {
  const [corners, setCorners] = useState<readonly Corner[] | undefined>(region as readonly Corner[] | undefined);
  const [still, setStill] = useState(() => Date.now());
  const surface = useRef<SVGSVGElement>(null);
  const held = useRef<number | undefined>(undefined);
  /** The corner that had the focus last. */
  const [chosen, setChosen] = useState(0);

  const set = (next: readonly Corner[] | undefined): void => {
    setCorners(next);
    onChange(next !== undefined && next.length >= 3 ? next.map(([x, y]) => [x, y]) : undefined);
  };
  const move = (index: number, [x, y]: Corner): void =>
    set(corners?.map((corner, place) => (place === index ? [within(x), within(y)] : corner)));
  const placeOf = ({ clientX, clientY }: PointerEvent | MouseEvent): Corner => {
    const { left, top, width, height } = surface.current!.getBoundingClientRect();
    return [within((clientX - left) / width), within((clientY - top) / height)];
  };

  if (corners === undefined)
    return (
      <p class="region-none">
        <span class="facts">Looks at the whole picture.</span>{' '}
        <button
          type="button"
          class="quiet"
          disabled={camera === undefined}
          onClick={() => {
            setStill(Date.now());
            set([
              [0.25, 0.25],
              [0.75, 0.25],
              [0.75, 0.75],
              [0.25, 0.75],
            ]);
          }}
        >
          Look at a part only
        </button>
      </p>
    );
  return (
    <fieldset class="region">
      <legend>Part of the picture</legend>
      <p class="hint">
        Drag the corners; a click beside them adds one. By keyboard: Tab to a corner, arrow keys move it, Delete removes
        it; Add a corner puts one behind it.
      </p>
      <div class="region-picture">
        {camera !== undefined && (
          <img src={`/api/cameras/${encodeURIComponent(camera)}/snapshot#${still}`} alt={`${camera} now`} />
        )}
        {/* biome-ignore lint/a11y/noStaticElementInteractions: corners carry the keys; this only takes the pointer */}
        <svg
          ref={surface}
          viewBox="0 0 1 1"
          preserveAspectRatio="none"
          aria-hidden="true"
          onPointerMove={(event) => {
            if (held.current !== undefined) move(held.current, placeOf(event));
          }}
          onPointerUp={() => {
            held.current = undefined;
          }}
          onPointerLeave={() => {
            held.current = undefined;
          }}
          onClick={(event) => {
            if (corners.length < MAX_CORNERS) set(insertedAt(corners, placeOf(event)));
          }}
        >
          <polygon points={corners.map(([x, y]) => `${x},${y}`).join(' ')} vector-effect="non-scaling-stroke" />
        </svg>
        {corners.map(([x, y], index) => (
          <button
            key={index}
            type="button"
            class="corner"
            aria-label={`Corner ${index + 1}: ${Math.round(100 * x)} % right, ${Math.round(100 * y)} % down`}
            style={{ left: `${100 * x}%`, top: `${100 * y}%` }}
            onFocus={() => setChosen(index)}
            onPointerDown={(event) => {
              held.current = index;
              event.currentTarget.setPointerCapture(event.pointerId);
            }}
            onPointerMove={(event) => {
              if (held.current === index) move(index, placeOf(event));
            }}
            onPointerUp={() => {
              held.current = undefined;
            }}
            onKeyDown={(event) => {
              const by = STEPS[event.key];
              if (by !== undefined) move(index, [x + by[0] * STEP, y + by[1] * STEP]);
              else if (event.key === 'Delete' && corners.length > 3) set(corners.filter((_, place) => place !== index));
              else return;
              event.preventDefault();
            }}
          />
        ))}
      </div>
      <div class="row">
        <button
          type="button"
          class="quiet"
          disabled={corners.length >= MAX_CORNERS}
          onClick={() => set(withCornerAfter(corners, chosen))}
        >
          Add a corner
        </button>
        <button type="button" class="quiet" onClick={() => set(undefined)}>
          Look at the whole picture
        </button>
      </div>
    </fieldset>
  );
}

const STEPS: Readonly<Record<string, Corner>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

function within(value: number): number {
  return Math.round(1_000 * Math.min(1, Math.max(0, value))) / 1_000;
}

/** Half way to the next one. */
function withCornerAfter(corners: readonly Corner[], index: number): Corner[] {
  const at = Math.min(index, corners.length - 1);
  const [one, next] = [corners[at]!, corners[(at + 1) % corners.length]!];
  return corners.toSpliced(at + 1, 0, [within((one[0] + next[0]) / 2), within((one[1] + next[1]) / 2)]);
}

/** Between the two corners whose side is the nearest. */
export function insertedAt(corners: readonly Corner[], point: Corner): Corner[] {
  let best = { index: 0, distance: Number.POSITIVE_INFINITY };
  for (const [index, from] of corners.entries()) {
    const distance = distanceTo(point, from, corners[(index + 1) % corners.length]!);
    if (distance < best.distance) best = { index, distance };
  }
  return [...corners.slice(0, best.index + 1), point, ...corners.slice(best.index + 1)];
}

function distanceTo([x, y]: Corner, [x1, y1]: Corner, [x2, y2]: Corner): number {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const along = Math.min(1, Math.max(0, ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(x - x1 - along * dx, y - y1 - along * dy);
}
