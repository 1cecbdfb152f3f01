import { useCallback, useEffect, useState } from 'preact/hooks';
import type { Setup, SetupStep, SetupStepState } from '../../../../../api/setup-schemas.js';
import { ask, get, send } from '../../../api.js';
import type { PageProps } from '../../../app.js';
import { SourcePicker } from './source-picker.js';
import { SetupPicture } from './setup-picture.js';

const SETUP_STEPS: readonly SetupStep[] = ['camera', 'model', 'broker', 'question'];
const TITLES: Readonly<Record<SetupStep, string>> = {
  camera: 'Camera',
  model: 'Model',
  broker: 'Broker',
  question: 'First question',
};
const MEANING: Readonly<Record<SetupStep, string>> = {
  camera: 'The device needs a picture to look at.',
  model: 'The model says what is in the picture.',
  broker: 'Robots and other programs ask over the MQTT broker.',
  question: 'Ask the device what it sees.',
};
const FIRST_QUESTION = 'What is in the picture?';

/** Camera, model, broker, first question: each step is tried for real. */
export function SetupWizard({ state }: PageProps) {
  const [setup, setSetup] = useState<Setup>();
  const [failure, setFailure] = useState<string>();
  const [chosen, setChosen] = useState<SetupStep>();
  const refresh = useCallback(
    () =>
      get<Setup>('/api/setup').then(setSetup, (error: unknown) =>
        setFailure(error instanceof Error ? error.message : String(error)),
      ),
    [],
  );
  useEffect(() => void refresh(), [refresh]);
  if (setup === undefined) return failure === undefined ? <p>Loading…</p> : <p class="failure">{failure}</p>;

  const open = setup.steps.find(({ isDone }) => !isDone);
  const current = setup.steps.find(({ id }) => id === (chosen ?? open?.id ?? 'question'))!;
  const next = SETUP_STEPS[SETUP_STEPS.indexOf(current.id) + 1];
  const leave = async (isLeft: boolean): Promise<void> => {
    await send('PUT', '/api/setup', { isLeft }).catch(() => {});
    await refresh();
    if (isLeft) location.hash = '#/live';
  };
  const settle = (step: SetupStepState): void => {
    setChosen(current.id);
    setSetup({ ...setup, steps: setup.steps.map((known) => (known.id === step.id ? step : known)) });
  };

  return (
    <section class="wizard" aria-label="Set-up">
      <ol class="steps">
        {setup.steps.map(({ id, isDone }, index) => (
          <li key={id}>
            <button
              type="button"
              class="quiet"
              aria-current={id === current.id ? 'step' : undefined}
              data-step={id}
              data-done={isDone}
              onClick={() => setChosen(id)}
            >
              <span aria-hidden="true">{isDone ? '✓' : index + 1}</span> {TITLES[id]}
              <small>{isDone ? 'done' : 'open'}</small>
            </button>
          </li>
        ))}
      </ol>
      {open === undefined && (
        <p class="card done" role="status">
          <b>This device is set up.</b> It has a picture, its model answers, the broker carries messages, and a question was
          answered.
        </p>
      )}
      <div class="card">
        <h2>{TITLES[current.id]}</h2>
        <p>{MEANING[current.id]}</p>
        {current.id === 'question' ? (
          <FirstQuestion camera={state?.cameras[0]?.id} onAnswer={() => void refresh()} />
        ) : (
          <Check key={current.id} step={current} setup={setup} onChecked={settle} />
        )}
        <div class="row">
          <span class="grow" />
          {open !== undefined && (
            <button type="button" class="quiet" onClick={() => void leave(true)}>
              Go on later
            </button>
          )}
          {next !== undefined && (
            <button type="button" class={current.isDone ? '' : 'quiet'} onClick={() => setChosen(next)}>
              {current.isDone ? `Next: ${TITLES[next]}` : `Skip to ${TITLES[next]}`}
            </button>
          )}
        </div>
      </div>
    </section>
  );
}

function Check({
  step,
  setup,
  onChecked,
}: {
  readonly step: SetupStepState;
  readonly setup: Setup;
  readonly onChecked: (step: SetupStepState) => void;
}) {
  const [isBusy, setBusy] = useState(false);
  const [checked, setChecked] = useState(false);
  const [failure, setFailure] = useState<string>();
  const check = async (): Promise<void> => {
    setBusy(true);
    setFailure(undefined);
    await send<SetupStepState>('POST', '/api/setup/check', { step: step.id }).then(
      (result) => {
        setChecked(true);
        onChecked(result);
      },
      (error: unknown) => setFailure(error instanceof Error ? error.message : String(error)),
    );
    setBusy(false);
  };
  return (
    <>
      {step.id === 'camera' && <SetupPicture />}
      <div class={`verdict ${step.isDone ? 'good' : checked ? 'bad' : ''}`} role="status">
        <p>
          <b>{step.isDone ? 'Works. ' : checked ? 'Does not work yet. ' : ''}</b>
          {step.reason}
        </p>
        {step.remedy && <p>To do: {step.remedy}</p>}
      </div>
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      <button type="button" class={step.isDone ? 'quiet' : ''} disabled={isBusy} onClick={() => void check()}>
        {isBusy ? 'Trying…' : step.isDone ? 'Try again' : 'Try it now'}
      </button>
      {step.id === 'camera' && <SourcePicker devices={setup.devices} onChanged={() => void check()} />}
      {step.id === 'broker' && (
        <p class="hint">
          Its address and password are under <a href="#/device?part=settings">Settings</a>.
        </p>
      )}
    </>
  );
}

function FirstQuestion({
  camera,
  onAnswer,
}: {
  readonly camera: string | undefined;
  readonly onAnswer: () => void;
}) {
  const [text, setText] = useState<string>();
  const [failure, setFailure] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const submit = async (question: string): Promise<void> => {
    setBusy(true);
    setFailure(undefined);
    setText('');
    try {
      for await (const event of ask({ question, ...(camera !== undefined && { camera }) }, new AbortController().signal)) {
        if (event.type === 'text') setText((known) => known + event.text);
        if (event.type === 'error') setFailure(event.message);
        if (event.type === 'answer') {
          setText(event.text);
          onAnswer();
        }
      }
    } catch (error) {
      setFailure(error instanceof Error ? error.message : String(error));
    }
    setBusy(false);
  };
  return (
    <form
      class="row"
      onSubmit={(event) => {
        event.preventDefault();
        void submit(String(new FormData(event.currentTarget as HTMLFormElement).get('question')));
      }}
    >
      <label class="grow">
        Question
        <input name="question" defaultValue={FIRST_QUESTION} required maxLength={500} autocomplete="off" />
      </label>
      <button type="submit" disabled={isBusy}>
        {isBusy ? 'Answering…' : 'Ask'}
      </button>
      <p class="answer" aria-live="polite">
        {text}
      </p>
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
    </form>
  );
}
