import { useRef, useState } from 'preact/hooks';
import type { CameraState } from '../../../../../api/schemas.js';
import type { PageProps } from '../../../app.js';
import { LiveCanvas } from '../../../live-canvas.js';
import { outcomeOf, useConfig } from '../settings/use-config.js';
import {
  addCorner,
  type Corner,
  corner,
  MAX_CORNERS,
  MAX_POLYGONS,
  MIN_CORNERS,
  moveCorner,
  type Polygon,
  rectangle,
  removeCorner,
  type Which,
} from './polygons.js';

interface FileCamera {
  readonly id: string;
  readonly masks?: readonly Polygon[];
}

/** Covers parts of a camera's picture before anything else sees it. */
export function MaskEditor({ state }: PageProps) {
  const config = useConfig();
  const { overview, failure } = config;
  const asked = new URLSearchParams(location.hash.split('?')[1] ?? '').get('camera');
  const [chosen, setChosen] = useState(asked ?? undefined);
  const [edited, setEdited] = useState<readonly Polygon[]>();
  const [said, setSaid] = useState<string>();

  if (overview === undefined)
    return failure === undefined ? (
      <p>Loading…</p>
    ) : (
      <p class="failure" role="alert">
        {failure}
      </p>
    );
  const cameras = (Array.isArray(overview.values.cameras) ? overview.values.cameras : []) as FileCamera[];
  const index = Math.max(
    0,
    cameras.findIndex(({ id }) => id === chosen),
  );
  const camera = cameras[index];
  if (camera === undefined) return <p>There is no camera in the configuration.</p>;
  const saved = camera.masks ?? [];
  const polygons = edited ?? saved;
  const live = state?.cameras.find(({ id }) => id === camera.id);

  const save = async (): Promise<void> => {
    setSaid(undefined);
    const path = ['cameras', index, 'masks'];
    const outcome = await config.save([polygons.length === 0 ? { path } : { path, value: polygons }]);
    if (outcome === undefined) return;
    setEdited(undefined);
    setSaid(outcomeOf(outcome));
  };

  return (
    <section class="card" aria-label="Privacy masks">
      <p>
        What a mask covers is filled with grey before the model, the journal, this page or a caller gets a picture.
        Draw with the mouse or a finger, or add a mask and move its corners with the arrow keys.
      </p>
      <label class="inline">
        Camera
        <select
          value={camera.id}
          onChange={({ currentTarget }) => {
            setChosen(currentTarget.value);
            setEdited(undefined);
            setSaid(undefined);
          }}
        >
          {cameras.map(({ id }) => (
            <option key={id}>{id}</option>
          ))}
        </select>
      </label>
      <Drawing
        key={camera.id}
        camera={live}
        id={camera.id}
        polygons={polygons}
        onChange={(next) => {
          setEdited(next);
          setSaid(undefined);
        }}
      />
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      <p role="status">{said}</p>
      <div class="row">
        <span class="grow">{edited === undefined ? `${saved.length} saved.` : 'Not saved yet.'}</span>
        <button type="button" class="quiet" disabled={edited === undefined} onClick={() => setEdited(undefined)}>
          Discard
        </button>
        <button
          type="button"
          disabled={edited === undefined || overview.readOnly !== null}
          onClick={() => void save()}
        >
          Save and apply
        </button>
      </div>
      {overview.readOnly !== null && <p class="failure">{overview.readOnly}</p>}
    </section>
  );
}

interface DrawingProps {
  readonly camera: CameraState | undefined;
  readonly id: string;
  readonly polygons: readonly Polygon[];
  readonly onChange: (polygons: readonly Polygon[]) => void;
}

/** A hundredth of the picture; with Shift a twentieth. */
const STEP = 0.01;
const BIG_STEP = 0.05;
const ARROWS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

function Drawing({ camera, id, polygons, onChange }: DrawingProps) {
  const area = useRef<HTMLDivElement>(null);
  const [selected, setSelected] = useState<Which>();
  /** Corners of the mask that is being drawn by clicking; undefined: none is. */
  const [draft, setDraft] = useState<readonly Corner[]>();
  const { width, height } = camera?.image ?? { width: 640, height: 480 };

  const place = ({ clientX, clientY }: { clientX: number; clientY: number }): Corner => {
    const { left, top, width: wide, height: high } = area.current!.getBoundingClientRect();
    return corner((clientX - left) / wide, (clientY - top) / high);
  };
  const close = (): void => {
    if (draft !== undefined && draft.length >= MIN_CORNERS) onChange([...polygons, draft]);
    setDraft(undefined);
  };
  const focus = ({ polygon, corner: at }: Which): void => {
    setSelected({ polygon, corner: at });
    requestAnimationFrame(() =>
      area.current?.querySelector<HTMLElement>(`[data-corner="${polygon}-${at}"]`)?.focus(),
    );
  };
  const remove = (which: Which): void => {
    const next = removeCorner(polygons, which);
    onChange(next);
    setSelected(undefined);
    const corners = next[which.polygon]?.length ?? 0;
    if (next.length === polygons.length) focus({ polygon: which.polygon, corner: which.corner % corners });
  };
  const onKey = (event: KeyboardEvent, which: Which): void => {
    const arrow = ARROWS[event.key];
    const at = polygons[which.polygon]?.[which.corner];
    if (at === undefined) return;
    if (arrow !== undefined) {
      const step = event.shiftKey ? BIG_STEP : STEP;
      onChange(moveCorner(polygons, which, corner(at[0] + step * arrow[0], at[1] + step * arrow[1])));
    } else if (event.key === 'Delete' || event.key === 'Backspace') remove(which);
    else return;
    event.preventDefault();
  };
  const chosen = selected !== undefined && polygons[selected.polygon] !== undefined ? selected : undefined;

  return (
    <>
      <div class="row tools">
        {draft === undefined ? (
          <>
            <button
              type="button"
              disabled={polygons.length >= MAX_POLYGONS}
              onClick={() => {
                onChange([...polygons, rectangle()]);
                focus({ polygon: polygons.length, corner: 0 });
              }}
            >
              Add a mask
            </button>
            <button
              type="button"
              class="quiet"
              disabled={polygons.length >= MAX_POLYGONS}
              onClick={() => setDraft([])}
            >
              Draw corner by corner
            </button>
            <button
              type="button"
              class="quiet"
              disabled={chosen === undefined || (polygons[chosen.polygon]?.length ?? 0) >= MAX_CORNERS}
              onClick={() => {
                if (chosen === undefined) return;
                onChange(addCorner(polygons, chosen));
                focus({ ...chosen, corner: chosen.corner + 1 });
              }}
            >
              Add a corner
            </button>
            <button
              type="button"
              class="quiet"
              disabled={chosen === undefined}
              onClick={() => {
                if (chosen === undefined) return;
                onChange(polygons.filter((_, index) => index !== chosen.polygon));
                setSelected(undefined);
              }}
            >
              Remove the mask
            </button>
          </>
        ) : (
          <>
            <button type="button" disabled={draft.length < MIN_CORNERS} onClick={close}>
              Close the mask
            </button>
            <button type="button" class="quiet" onClick={() => setDraft(undefined)}>
              Cancel
            </button>
            <span class="hint">Click its corners in the picture, at least three.</span>
          </>
        )}
      </div>
      <div
        ref={area}
        class={draft === undefined ? 'picture masks' : 'picture masks drawing'}
        style={{ aspectRatio: `${width} / ${height}` }}
        onPointerDown={(event) => {
          if (draft === undefined || draft.length >= MAX_CORNERS) return;
          event.preventDefault();
          setDraft([...draft, place(event)]);
        }}
      >
        <LivePicture id={id} isPrivate={camera?.isPrivate ?? false} />
        <svg viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">
          {polygons.map((corners, index) => (
            <polygon
              key={index}
              class={chosen?.polygon === index ? 'chosen' : ''}
              points={corners.map((each) => each.join(',')).join(' ')}
            />
          ))}
          {draft && <polyline points={draft.map((each) => each.join(',')).join(' ')} />}
        </svg>
        {polygons.flatMap((corners, polygon) =>
          corners.map((at, index) => {
            const which = { polygon, corner: index };
            return (
              <button
                key={`${polygon}-${index}`}
                type="button"
                class="mask-corner"
                data-corner={`${polygon}-${index}`}
                style={{ left: `${100 * at[0]}%`, top: `${100 * at[1]}%` }}
                aria-label={`Mask ${polygon + 1}, corner ${index + 1}: ${percent(at[0])} from the left, ${percent(at[1])} from the top`}
                onFocus={() => setSelected(which)}
                onKeyDown={(event) => onKey(event, which)}
                onPointerDown={(event) => {
                  if (draft !== undefined) return;
                  event.currentTarget.setPointerCapture(event.pointerId);
                  event.stopPropagation();
                }}
                onPointerMove={(event) => {
                  if (!event.currentTarget.hasPointerCapture(event.pointerId)) return;
                  onChange(moveCorner(polygons, which, place(event)));
                }}
              />
            );
          }),
        )}
        {draft?.map((at, index) => (
          <span
            key={index}
            class="mask-corner"
            aria-hidden="true"
            style={{ left: `${100 * at[0]}%`, top: `${100 * at[1]}%` }}
          />
        ))}
      </div>
      <p class="hint">
        On a corner: arrow keys move it, with Shift further; Delete removes it.
      </p>
    </>
  );
}

function LivePicture({ id, isPrivate }: { readonly id: string; readonly isPrivate: boolean }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <LiveCanvas camera={id} onOpen={setOpen} />
      {(isPrivate || !isOpen) && (
        <p class="absent over">{isPrivate ? 'The privacy of this camera is on.' : 'Connecting…'}</p>
      )}
    </>
  );
}

const percent = (part: number): string => `${Math.round(100 * part)} %`;
