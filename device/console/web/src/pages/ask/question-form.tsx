import { useState } from 'preact/hooks';
import { type AnswerKind, faultOf } from './answer-kind.js';
import { AnswerKindFields, AnswerKindSelect } from './answer-kind-fields.js';
import { toldTurns } from './exchange.js';
import { readPresets, writePresets } from './presets.js';
import { keyOf, nameOf, type Subject } from './subject.js';

export interface QuestionFormProps {
  /** Questions that the device offers. */
  readonly presets: readonly string[];
  readonly question: string;
  readonly onQuestion: (question: string) => void;
  readonly answerKind: AnswerKind;
  readonly onAnswerKind: (answer: AnswerKind) => void;
  readonly subject: Subject | undefined;
  readonly other: Subject | undefined;
  /** Cameras, and frames that were asked about. */
  readonly subjects: readonly Subject[];
  readonly onSubject: (subject: Subject) => void;
  readonly onOther: (subject: Subject | undefined) => void;
  /** Undefined: what was said about the frame is forgotten. */
  readonly onStartOver: () => void;
  readonly onPicture: (file: Blob | undefined) => void;
  readonly onAsk: (question: string) => void;
  readonly onStop: () => void;
  readonly isBusy: boolean;
  readonly mayAsk: boolean;
  readonly failure: string | undefined;
}

export const PICTURE_TYPES = ['image/jpeg', 'image/png', 'image/webp'];

export function QuestionForm(props: QuestionFormProps) {
  const { question, answerKind, subject, other, subjects, isBusy, mayAsk } = props;
  const isReady = mayAsk && question.trim() !== '' && subject !== undefined && faultOf(answerKind) === undefined;
  const told = subject === undefined ? 0 : toldTurns(subject, answerKind).length;
  const hasTurns = subject?.kind === 'frame' && subject.turns.length > 0;
  const find = (key: string) => subjects.find((each) => keyOf(each) === key);
  return (
    <form
      class="card ask"
      onSubmit={(event) => {
        event.preventDefault();
        if (isReady) props.onAsk(question);
      }}
    >
      <label class="grow">
        Question
        <input
          name="question"
          autocomplete="off"
          maxLength={4_096}
          value={question}
          disabled={!mayAsk}
          onInput={({ currentTarget }) => props.onQuestion(currentTarget.value)}
        />
      </label>
      <AnswerKindSelect answer={answerKind} isDisabled={!mayAsk} onChange={props.onAnswerKind} />
      {isBusy ? (
        <button type="button" class="go" onClick={props.onStop}>
          Stop
        </button>
      ) : (
        <button type="submit" class="go" disabled={!isReady}>
          Ask
        </button>
      )}
      <AnswerKindFields answer={answerKind} isDisabled={!mayAsk} onChange={props.onAnswerKind} />
      <Presets {...props} />
      <div class="about">
        <label>
          About
          <select
            value={subject && keyOf(subject)}
            disabled={!mayAsk}
            onChange={({ currentTarget }) => {
              const chosen = find(currentTarget.value);
              if (chosen !== undefined) props.onSubject(chosen);
            }}
          >
            {subjects.map((each) => (
              <option key={keyOf(each)} value={keyOf(each)}>
                {nameOf(each)}
              </option>
            ))}
          </select>
        </label>
        <label>
          Compare with
          <select
            value={other === undefined ? '' : keyOf(other)}
            disabled={!mayAsk || subjects.length < 2}
            onChange={({ currentTarget }) => props.onOther(find(currentTarget.value))}
          >
            <option value="">nothing</option>
            {subjects
              .filter((each) => subject === undefined || keyOf(each) !== keyOf(subject))
              .map((each) => (
                <option key={keyOf(each)} value={keyOf(each)}>
                  {nameOf(each)}
                </option>
              ))}
          </select>
        </label>
        <label class="file">
          Or your picture: choose, drop or paste
          <input
            type="file"
            accept={PICTURE_TYPES.join(',')}
            disabled={!mayAsk}
            onChange={({ currentTarget }) => props.onPicture(currentTarget.files?.[0])}
          />
        </label>
        <label class="check" title="The model is asked yes or no about the cut-out of each box; that takes longer.">
          <input
            type="checkbox"
            checked={answerKind.verify}
            disabled={!mayAsk}
            onChange={({ currentTarget }) => props.onAnswerKind({ ...answerKind, verify: currentTarget.checked })}
          />
          Check each box on its cut-out
        </label>
      </div>
      {hasTurns && (
        <p class="wide facts">
          {told > 0
            ? `The model is told of ${told === 1 ? 'your earlier question' : `your ${told} earlier questions`} about this frame.`
            : 'This kind of answer is decided from its question alone.'}{' '}
          <button type="button" class="quiet" onClick={props.onStartOver}>
            Forget them
          </button>
        </p>
      )}
      {props.failure !== undefined && (
        <p class="failure wide" role="alert">
          {props.failure}
        </p>
      )}
    </form>
  );
}

function Presets({ presets: given, question, onQuestion, onAsk, isBusy, mayAsk, subject, answerKind }: QuestionFormProps) {
  const [own, setOwn] = useState<readonly string[]>(readPresets);
  const all = [...given, ...own.filter((each) => !given.includes(each))];
  const mayKeep = question.trim() !== '' && !all.includes(question.trim());
  const mayGo = !isBusy && subject !== undefined && faultOf(answerKind) === undefined;
  return (
    <fieldset class="presets" disabled={!mayAsk}>
      <legend>Presets</legend>
      {all.map((preset) => (
        <span key={preset} class="chip">
          <button
            type="button"
            class="quiet"
            disabled={!mayGo}
            onClick={() => {
              onQuestion(preset);
              onAsk(preset);
            }}
          >
            {preset}
          </button>
          {!given.includes(preset) && (
            <button
              type="button"
              class="quiet"
              aria-label={`Forget the preset ${preset}`}
              onClick={() => setOwn(writePresets(own.filter((each) => each !== preset)))}
            >
              ×
            </button>
          )}
        </span>
      ))}
      <button
        type="button"
        class="quiet"
        disabled={!mayKeep}
        onClick={() => setOwn(writePresets([...own, question.trim()]))}
      >
        + Keep this question
      </button>
    </fieldset>
  );
}
