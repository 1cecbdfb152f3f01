import { useState } from 'preact/hooks';
import type { WatchDefinition, WatchStanding } from '../../../../api/watch-schemas.js';
import { percent, wordsOf } from '../../words.js';
import { History } from './history.js';

type At = WatchStanding['cameras'][number];

export interface WatchCardProps {
  readonly standing: WatchStanding;
  readonly mayChange: boolean;
  /** The newest event of this watch, when it was the last of all. */
  readonly newest: string | undefined;
  readonly onEdit: () => void;
  readonly onCopy: () => void;
  readonly onPause: (isOn: boolean) => void;
  readonly onRemove: () => void;
}

export function WatchCard({ standing, mayChange, newest, onEdit, onCopy, onPause, onRemove }: WatchCardProps) {
  const { watch, origin, cameras } = standing;
  const [isAsked, setAsked] = useState(false);
  const isOn = watch.enabled ?? true;
  const isOwn = origin === 'bus';
  return (
    <li class="card watch" data-watch={watch.id} data-on={isOn}>
      <div class="head">
        <h2>{watch.question}</h2>
        <span class="facts">
          {watch.id} · {rulesOf(watch)}
        </span>
      </div>
      <ul class="standings">
        {cameras.map((at) => (
          <Standing key={at.camera} watch={watch} at={at} />
        ))}
        {cameras.length === 0 && <li class="facts">No camera yet.</li>}
      </ul>
      <History id={watch.id} newest={newest} />
      {mayChange && (
        <div class="actions">
          {isOwn && (
            <button type="button" class="quiet" onClick={onEdit}>
              Edit
            </button>
          )}
          {isOwn && (
            <button type="button" class="quiet" onClick={() => onPause(!isOn)}>
              {isOn ? 'Pause' : 'Go on'}
            </button>
          )}
          <button type="button" class="quiet" onClick={onCopy}>
            Copy
          </button>
          {isOwn && !isAsked && (
            <button type="button" class="quiet" onClick={() => setAsked(true)}>
              Remove
            </button>
          )}
          {isOwn && isAsked && (
            <>
              <button type="button" class="danger" onClick={onRemove}>
                Remove for good
              </button>
              <button type="button" class="quiet" onClick={() => setAsked(false)}>
                Keep it
              </button>
            </>
          )}
        </div>
      )}
      {!isOwn && <p class="hint">It is in the configuration of the device, and changed there.</p>}
    </li>
  );
}

function Standing({ watch, at }: { readonly watch: WatchDefinition; readonly at: At }) {
  const { camera, value, probability, sinceMs, eventId, isActive, problem } = at;
  const state = problem !== null ? 'bad' : !isActive ? 'off' : eventId !== null ? 'on' : 'calm';
  return (
    <li class="standing" data-camera={camera} data-state={state}>
      <span class="facts">{camera}</span>
      <b class="value">{value === null ? '–' : wordsOf(value)}</b>
      <span class="facts">
        {isActive ? '' : watch.enabled === false ? 'paused' : 'not asked now'}
        {isActive && value === null && problem === null && 'being asked'}
        {probability !== null && `${percent(probability)} sure`}
        {sinceMs !== null && ` since ${new Date(sinceMs).toLocaleTimeString()}`}
      </span>
      {problem !== null && <span class="failure">{problem}</span>}
    </li>
  );
}

/** When it is asked and what counts, in a few words. */
function rulesOf({ intervalSeconds, agree, minProbability, quietSeconds, schedule, region }: WatchDefinition): string {
  return [
    intervalSeconds === undefined ? 'when the scene changes' : `every ${intervalSeconds} s`,
    agree && agree.of > 1 ? `${agree.count} of ${agree.of} answers agree` : '',
    minProbability === undefined ? '' : `at least ${percent(minProbability)} sure`,
    quietSeconds ? `${quietSeconds} s quiet` : '',
    schedule ? 'in its hours' : '',
    region ? 'in its region' : '',
  ]
    .filter(Boolean)
    .join(' · ');
}
