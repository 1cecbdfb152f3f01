import { useEffect, useState } from 'preact/hooks';
import type { SchemaVerdict } from '../../../../api/ask-schemas.js';
import { send } from '../../api.js';
import { type AnswerKind, faultOf, KINDS, type Kind } from './answer-kind.js';

export interface AnswerKindFieldsProps {
  readonly answer: AnswerKind;
  readonly isDisabled: boolean;
  readonly onChange: (answer: AnswerKind) => void;
}

export function AnswerKindSelect({ answer, isDisabled, onChange }: AnswerKindFieldsProps) {
  return (
    <label>
      Answer
      <select
        value={answer.kind}
        disabled={isDisabled}
        onChange={({ currentTarget }) => onChange({ ...answer, kind: currentTarget.value as Kind })}
      >
        {KINDS.map(([kind, title]) => (
          <option key={kind} value={kind}>
            {title}
          </option>
        ))}
      </select>
    </label>
  );
}

/** What an answer of this kind needs besides. */
export function AnswerKindFields({ answer, isDisabled, onChange }: AnswerKindFieldsProps) {
  if (answer.kind === 'choice')
    return (
      <label class="wide">
        Choices
        <input
          value={answer.choices}
          disabled={isDisabled}
          placeholder="red, green, blue"
          autocomplete="off"
          aria-describedby="choices-fault"
          onInput={({ currentTarget }) => onChange({ ...answer, choices: currentTarget.value })}
        />
        <span id="choices-fault" class="hint">
          {faultOf(answer) ?? 'The model gives each a probability.'}
        </span>
      </label>
    );
  if (answer.kind !== 'json') return null;
  return (
    <label class="wide">
      JSON Schema that the answer must fit
      <textarea
        rows={9}
        spellcheck={false}
        value={answer.schema}
        disabled={isDisabled}
        aria-describedby="schema-verdict"
        aria-invalid={faultOf(answer) !== undefined}
        onInput={({ currentTarget }) => onChange({ ...answer, schema: currentTarget.value })}
      />
      <SchemaVerdictLine answer={answer} />
    </label>
  );
}

/** Of the device, which knows what it can hold an answer to; asked when the typing pauses. */
const TYPING_PAUSE_MS = 300;

function SchemaVerdictLine({ answer }: { readonly answer: AnswerKind }) {
  const fault = faultOf(answer);
  const [verdict, setVerdict] = useState<{ readonly schema: string; readonly problem: string | null }>();
  useEffect(() => {
    if (fault !== undefined) return undefined;
    let isOver = false;
    const tell = (problem: string | null) => {
      if (!isOver) setVerdict({ schema: answer.schema, problem });
    };
    const timer = setTimeout(() => {
      const body = { answerSchema: JSON.parse(answer.schema) as object };
      send<SchemaVerdict>('POST', '/api/answer-schemas', body).then(
        ({ problem }) => tell(problem?.message ?? null),
        (error: Error) => tell(error.message),
      );
    }, TYPING_PAUSE_MS);
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [answer.schema, fault]);
  const problem = fault ?? (verdict?.schema === answer.schema ? verdict.problem : undefined);
  const state = problem === undefined ? 'checking' : problem === null ? 'good' : 'bad';
  return (
    <span id="schema-verdict" class={`verdict ${state}`} role="status" data-state={state}>
      {state === 'checking' ? 'Checking…' : state === 'good' ? '✓ An answer can be held to this schema.' : problem}
    </span>
  );
}
