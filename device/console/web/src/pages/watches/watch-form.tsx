import { useState } from 'preact/hooks';
import type { WatchDefinition } from '../../../../api/watch-schemas.js';
import { DAYS, type Draft, definitionOf, idFor, type Schedule } from './draft.js';
import { RegionField } from './region-field.js';
import { Trial } from './trial.js';

export interface WatchFormProps {
  readonly first: Draft;
  /** It is there already: its name stays. */
  readonly isKnown: boolean;
  readonly cameras: readonly string[];
  /** Names of other watches. */
  readonly taken: readonly string[];
  /** Rejects with what to say. */
  readonly onSave: (watch: WatchDefinition) => Promise<void>;
  readonly onClose: () => void;
  readonly onFailure: (error: unknown) => void;
  readonly failure: string | undefined;
}

const TYPES: readonly (readonly [WatchDefinition['answerType'], string])[] = [
  ['yes-no', 'yes or no'],
  ['choice', 'one of a few'],
  ['number', 'a number'],
  ['text', 'in words'],
];

export function WatchForm(props: WatchFormProps) {
  const { first, isKnown, cameras, taken, onSave, onClose, onFailure, failure } = props;
  const [draft, setDraft] = useState(first);
  const [isBusy, setBusy] = useState(false);
  const set = (part: Partial<Draft>): void => setDraft((before) => ({ ...before, ...part }));
  const defined = definitionOf(draft, taken);
  const watch = 'watch' in defined ? defined.watch : undefined;
  const seen = draft.cameras.length > 0 ? draft.cameras : cameras;

  const save = async (): Promise<void> => {
    if (watch === undefined) return;
    setBusy(true);
    await onSave(watch).catch(onFailure);
    setBusy(false);
  };

  return (
    <form
      class="card watch-form"
      aria-label={isKnown ? `Edit the watch ${first.id}` : 'New watch'}
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <h2>{isKnown ? `Edit ${first.id}` : 'New watch'}</h2>
      <div class="fields">
        <label class="wide">
          Question
          <input
            name="watch-question"
            autocomplete="off"
            maxLength={4_096}
            value={draft.question}
            onInput={({ currentTarget }) => set({ question: currentTarget.value })}
          />
        </label>
        <label>
          Answer
          <select
            value={draft.answerType}
            onChange={({ currentTarget }) => set({ answerType: currentTarget.value as Draft['answerType'] })}
          >
            {TYPES.map(([type, title]) => (
              <option key={type} value={type}>
                {title}
              </option>
            ))}
          </select>
        </label>
        {draft.answerType === 'choice' && (
          <label>
            Choices, separated by commas
            <input
              autocomplete="off"
              value={draft.choices}
              onInput={({ currentTarget }) => set({ choices: currentTarget.value })}
            />
          </label>
        )}
        {!isKnown && (
          <label>
            Name
            <input
              autocomplete="off"
              placeholder={idFor(draft.question, taken)}
              value={draft.id}
              onInput={({ currentTarget }) => set({ id: currentTarget.value })}
            />
          </label>
        )}
        {cameras.length > 1 && (
          <fieldset class="wide checks">
            <legend>Cameras</legend>
            {cameras.map((camera) => (
              <label key={camera} class="check">
                <input
                  type="checkbox"
                  checked={seen.includes(camera)}
                  onChange={({ currentTarget }) => {
                    const next = currentTarget.checked ? [...seen, camera] : seen.filter((each) => each !== camera);
                    set({ cameras: next.length === cameras.length ? [] : next });
                  }}
                />
                {camera}
              </label>
            ))}
          </fieldset>
        )}
      </div>
      <details>
        <summary>When it is asked, and what counts</summary>
        <Rules draft={draft} set={set} />
        <Hours schedule={draft.schedule} onChange={(schedule) => set({ schedule })} />
        <RegionField camera={seen[0]} region={draft.region} onChange={(region) => set({ region })} />
      </details>
      {'fault' in defined && draft.question !== '' && <p class="hint">{defined.fault}</p>}
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      <Trial watch={watch} cameras={seen} />
      <div class="actions">
        <button type="submit" disabled={watch === undefined || isBusy}>
          {isKnown ? 'Save' : 'Switch it on'}
        </button>
        <button type="button" class="quiet" onClick={onClose}>
          Cancel
        </button>
      </div>
    </form>
  );
}

interface RulesProps {
  readonly draft: Draft;
  readonly set: (part: Partial<Draft>) => void;
}

function Rules({ draft, set }: RulesProps) {
  const field = (name: 'interval' | 'agreeCount' | 'agreeOf' | 'minProbability' | 'quiet', max: number, step = 1) => (
    <input
      type="number"
      min={0}
      max={max}
      step={step}
      value={draft[name]}
      onInput={({ currentTarget }) => set({ [name]: currentTarget.value })}
    />
  );
  return (
    <div class="fields">
      <label>
        Every … seconds (empty: when the scene changes)
        {field('interval', 86_400, 0.1)}
      </label>
      <label>
        Answers that must agree
        {field('agreeCount', 20)}
      </label>
      <label>
        … of the last
        {field('agreeOf', 20)}
      </label>
      <label>
        At least so sure, %{field('minProbability', 100)}
      </label>
      <label>
        Least pause between events, seconds
        {field('quiet', 86_400)}
      </label>
    </div>
  );
}

interface HoursProps {
  readonly schedule: Schedule;
  readonly onChange: (schedule: Schedule) => void;
}

/** In the device's own time. */
function Hours({ schedule, onChange }: HoursProps) {
  const change = (index: number, part: Partial<Schedule[number]>): void =>
    onChange(schedule.map((each, place) => (place === index ? { ...each, ...part } : each)));
  return (
    <fieldset class="hours">
      <legend>Hours (none: always)</legend>
      {schedule.map(({ from, to, days }, index) => (
        <div key={index} class="row">
          <label>
            From
            <input
              type="time"
              value={from}
              onInput={({ currentTarget }) => change(index, { from: currentTarget.value })}
            />
          </label>
          <label>
            To
            <input type="time" value={to} onInput={({ currentTarget }) => change(index, { to: currentTarget.value })} />
          </label>
          <div class="checks">
            {DAYS.map((day) => (
              <label key={day} class="check">
                <input
                  type="checkbox"
                  checked={days?.includes(day) ?? true}
                  onChange={({ currentTarget }) => {
                    const now = DAYS.filter((each) =>
                      each === day ? currentTarget.checked : (days?.includes(each) ?? true),
                    );
                    // None is not a choice that can be kept: then it is every day again.
                    const { days: _days, ...others } = schedule[index]!;
                    const isAll = now.length === 0 || now.length === DAYS.length;
                    onChange(
                      schedule.map((each, place) =>
                        place === index ? (isAll ? others : { ...others, days: [...now] }) : each,
                      ),
                    );
                  }}
                />
                {day}
              </label>
            ))}
          </div>
          <button
            type="button"
            class="quiet"
            aria-label={`Remove the hours from ${from} to ${to}`}
            onClick={() => onChange(schedule.filter((_, place) => place !== index))}
          >
            ×
          </button>
        </div>
      ))}
      <button
        type="button"
        class="quiet"
        disabled={schedule.length >= 16}
        onClick={() => onChange([...schedule, { from: '08:00', to: '18:00' }])}
      >
        + Hours
      </button>
    </fieldset>
  );
}
