import { useEffect, useRef, useState } from 'preact/hooks';
import type { GroundedBox } from '../../api/schemas.js';
import { type FrameAddress, heatMap } from './api.js';
import { messageOf } from './messages.js';
import { percent } from './words.js';

export interface HeatControlsProps {
  readonly frame: FrameAddress;
  readonly camera: string | null | undefined;
  /** What was found: offered to be looked for. */
  readonly objects: readonly GroundedBox[];
  /** The address of a map for over the picture; undefined: none. */
  readonly onHeat: (heat: string | undefined) => void;
}

/** Asks where the model looks for a thing in one frame. */
export function HeatControls({ frame, camera, objects, onHeat }: HeatControlsProps) {
  const [shown, setShown] = useState<string>();
  const [verdict, setVerdict] = useState<string>();
  const [failure, setFailure] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const address = useRef<string | undefined>(undefined);
  const drop = (): void => {
    if (address.current !== undefined) URL.revokeObjectURL(address.current);
    address.current = undefined;
  };
  useEffect(() => drop, []);

  const hide = (): void => {
    drop();
    setShown(undefined);
    setVerdict(undefined);
    setFailure(undefined);
    onHeat(undefined);
  };
  const look = async (label: string): Promise<void> => {
    setBusy(true);
    setFailure(undefined);
    try {
      const { png, presence } = await heatMap(label, frame, camera);
      drop();
      address.current = URL.createObjectURL(png);
      setShown(label);
      setVerdict(presence === undefined ? undefined : `${percent(presence)} sure that there is one`);
      onHeat(address.current);
    } catch (error) {
      hide();
      setFailure(messageOf(error));
    }
    setBusy(false);
  };
  const labels = [...new Set(objects.map(({ label }) => label))];
  return (
    <details class="look">
      <summary>Where does the model look?</summary>
      <div class="row">
        {labels.map((label) => (
          <button
            key={label}
            type="button"
            class="quiet"
            aria-pressed={label === shown}
            disabled={isBusy}
            onClick={() => (label === shown ? hide() : void look(label))}
          >
            {label}
          </button>
        ))}
        <form
          class="row"
          onSubmit={(event) => {
            event.preventDefault();
            void look(String(new FormData(event.currentTarget as HTMLFormElement).get('label')));
          }}
        >
          <input name="label" aria-label="Look for" placeholder="another thing" required maxLength={200} autocomplete="off" />
          <button type="submit" class="quiet" disabled={isBusy}>
            {isBusy ? 'Looking…' : 'Look'}
          </button>
        </form>
      </div>
      <p class="facts" role="status">
        {shown !== undefined && (
          <>
            Brighter: looked at more for <b>{shown}</b>
            {verdict === undefined ? '. ' : `; ${verdict}. `}
            <button type="button" class="quiet" onClick={hide}>
              Hide the map
            </button>
          </>
        )}
      </p>
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
    </details>
  );
}
