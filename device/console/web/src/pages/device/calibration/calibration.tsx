import { useEffect, useState } from 'preact/hooks';
import type { LensProgress, LensResult } from '../../../../../api/calibration-schemas.js';
import { ApiError, get, send } from '../../../api.js';
import type { PageProps } from '../../../app.js';
import { messageOf } from '../../../messages.js';
import { percent } from '../../../words.js';
import { LivePicture } from '../../live/live-picture.js';
import { CoverageOverlay } from './coverage-overlay.js';
import { LensReport } from './lens-report.js';

const LOOK_MS = 400;
/** Fewer do not separate focal length and distance of the board. */
const LEAST_VIEWS = 5;
const BOARDS = [
  ['charuco:7x5', 'ChArUco, 7 × 5 squares (recommended)'],
  ['chessboard:9x6', 'Chessboard, 9 × 6 inner corners'],
] as const;
const LENSES = [
  ['pinhole', 'ordinary'],
  ['wide', 'wide, straight lines look bent'],
  ['fisheye', 'fisheye'],
] as const;
const REFUSED: Readonly<Record<string, string>> = {
  'no-board': 'without the board',
  blurred: 'blurred',
  alike: 'like another',
  size: 'of another size',
  full: 'more than needed',
};

/** Measures the lens of a camera with a printed board that somebody holds before it. */
export function Calibration({ state }: PageProps) {
  const [chosen, setChosen] = useState<string>();
  const [board, setBoard] = useState<string>(BOARDS[0][0]);
  const [squareMillimetres, setSquare] = useState(30);
  const [lens, setLens] = useState<string>('pinhole');
  const [progress, setProgress] = useState<LensProgress>();
  const [result, setResult] = useState<LensResult>();
  const [failure, setFailure] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const cameras = state?.cameras ?? [];
  const camera = cameras.find(({ id }) => id === chosen) ?? cameras[0];
  const path = `/api/cameras/${encodeURIComponent(camera?.id ?? '')}/calibration`;
  const isLooking = progress?.isLooking === true;

  useEffect(() => {
    if (!isLooking) return;
    const abort = new AbortController();
    const timer = setInterval(() => {
      if (document.hidden) return;
      get<LensProgress>(path, abort.signal).then(setProgress, (error: unknown) => {
        if (abort.signal.aborted) return;
        if (error instanceof ApiError && error.status === 404) setProgress(undefined);
        setFailure(messageOf(error));
      });
    }, LOOK_MS);
    return () => {
      clearInterval(timer);
      abort.abort();
    };
  }, [isLooking, path]);

  const work = async (doing: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setFailure(undefined);
    await doing().catch((error: unknown) => setFailure(messageOf(error)));
    setBusy(false);
  };
  const start = () =>
    work(async () => {
      setResult(undefined);
      setProgress(await send<LensProgress>('PUT', path, { board, squareMillimetres, lens }));
    });
  const stop = () =>
    work(async () => {
      setProgress(undefined);
      await send('DELETE', path);
    });
  const solve = () => work(async () => setResult(await send<LensResult>('POST', `${path}/result`)));

  if (camera === undefined) return <p>No camera is open yet.</p>;
  const query = new URLSearchParams({ board, squareMillimetres: String(squareMillimetres) });
  const refused = Object.entries(progress?.refused ?? {}).map(([reason, count]) => `${count} ${REFUSED[reason]}`);
  return (
    <section class="card calibration" aria-label="Calibration">
      <p>
        A calibrated camera gives every box a direction in degrees. Print the board at 100 %, glue it on something flat,
        and hold it before the camera: to every part of the picture, near and far, tilted.
      </p>
      <div class="row">
        <Choice label="Camera" value={camera.id} options={cameras.map(({ id }) => [id, id])} isFixed={isLooking} onChoose={setChosen} />
        <Choice label="Board" value={board} options={BOARDS} isFixed={isLooking} onChoose={setBoard} />
        <label>
          Side of a square, mm
          <input
            type="number"
            min={1}
            max={1000}
            step="any"
            value={squareMillimetres}
            disabled={isLooking}
            onChange={({ currentTarget }) => setSquare(currentTarget.valueAsNumber || 30)}
          />
        </label>
        <Choice label="Lens" value={lens} options={LENSES} isFixed={isLooking} onChoose={setLens} />
      </div>
      <div class="row tools">
        {isLooking ? (
          <>
            <button type="button" disabled={isBusy || progress.views < LEAST_VIEWS} onClick={() => void solve()}>
              {isBusy ? 'Working…' : 'Compute the lens'}
            </button>
            <button type="button" class="quiet" onClick={() => void stop()}>
              Stop
            </button>
          </>
        ) : (
          <>
            <button type="button" disabled={isBusy || camera.isPrivate} onClick={() => void start()}>
              Start
            </button>
            <a class="button quiet" href={`/api/calibration-board?${query}`} download={`${board.replace(':', '-')}.png`}>
              Download the board
            </a>
          </>
        )}
      </div>
      <p class="guidance" role="status">
        {progress?.guidance ?? 'Start when the board is at hand.'}
      </p>
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      <LivePicture key={camera.id} camera={camera}>
        {isLooking && <CoverageOverlay progress={progress} />}
      </LivePicture>
      {progress && (
        <p class="facts" data-views={progress.views}>
          {progress.views} pictures taken of {progress.pictures}, {percent(progress.covered)} of the picture covered,{' '}
          {progress.tilted} tilted.{refused.length > 0 && ` Not taken: ${refused.join(', ')}.`}
          {progress.views < LEAST_VIEWS && ` The lens can be computed from ${LEAST_VIEWS} on.`}
        </p>
      )}
      {result && <LensReport camera={camera.id} result={result} />}
    </section>
  );
}

interface ChoiceProps {
  readonly label: string;
  readonly value: string;
  readonly options: readonly (readonly [value: string, title: string])[];
  readonly isFixed: boolean;
  readonly onChoose: (value: string) => void;
}

function Choice({ label, value, options, isFixed, onChoose }: ChoiceProps) {
  return (
    <label>
      {label}
      <select value={value} disabled={isFixed} onChange={({ currentTarget }) => onChoose(currentTarget.value)}>
        {options.map(([each, title]) => (
          <option key={each} value={each}>
            {title}
          </option>
        ))}
      </select>
    </label>
  );
}
