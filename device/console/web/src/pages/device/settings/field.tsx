/** One setting, as its schema says. */
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { choicesOf, faultOf, keyOf, kindOf, LONG_TEXT, type Path, rangeOf, type Schema, titleOf } from './schema.js';

export interface FormAccess {
  /** As edited, else as in the file. undefined: left out, the default holds. */
  readonly value: (path: Path) => unknown;
  readonly isEdited: (path: Path) => boolean;
  /** undefined: leave it out. */
  readonly change: (path: Path, value: unknown) => void;
  /** Of the device. */
  readonly problem: (path: Path) => string | undefined;
}

export interface FieldProps {
  readonly schema: Schema;
  readonly path: Path;
  readonly form: FormAccess;
}

/** A setting or a section of them; nothing where nothing may be changed and nothing is set. */
export function Field({ schema, path, form }: FieldProps) {
  if (schema.readOnly) return <Closed schema={schema} path={path} form={form} />;
  if (kindOf(schema) === 'section') return <Section schema={schema} path={path} form={form} />;
  return <Setting schema={schema} path={path} form={form} />;
}

function Section({ schema, path, form }: FieldProps) {
  return (
    <fieldset class="section">
      <legend>{titleOf(path.at(-1) ?? '', schema)}</legend>
      {schema.description && <p class="hint">{schema.description}</p>}
      <Fields schema={schema} path={path} form={form} />
    </fieldset>
  );
}

export function Fields({ schema, path, form }: FieldProps) {
  return (
    <div class="fields">
      {Object.entries(schema.properties ?? {}).map(([name, each]) => (
        <Field key={name} schema={each} path={[...path, name]} form={form} />
      ))}
    </div>
  );
}

function Closed({ schema, path, form }: FieldProps) {
  const value = form.value(path);
  if (value === undefined || typeof value === 'object') return null;
  return (
    <div class="closed">
      <span class="name">{titleOf(path.at(-1) ?? '', schema)}</span>
      <span>{String(value)}</span>
      <small>{schema['x-reason']}</small>
    </div>
  );
}

function Setting({ schema, path, form }: FieldProps) {
  const id = `setting-${keyOf(path)}`;
  const value = form.value(path);
  const fault = form.isEdited(path) ? faultOf(schema, value) : undefined;
  const problem = fault ?? form.problem(path);
  const range = rangeOf(schema);
  const hints = [schema.description, range].filter((hint) => hint !== undefined);
  const input = { id, invalid: problem !== undefined, described: `${id}-help` };
  return (
    <div class={form.isEdited(path) ? 'setting edited' : 'setting'}>
      <label for={id}>{titleOf(path.at(-1) ?? '', schema)}</label>
      <Control schema={schema} value={value} input={input} onChange={(next) => form.change(path, next)} />
      <p class="hint" id={`${id}-help`}>
        {problem === undefined ? hints.join('. ') : <span class="failure">{problem}</span>}
      </p>
    </div>
  );
}

interface ControlProps {
  readonly schema: Schema;
  readonly value: unknown;
  readonly input: { readonly id: string; readonly invalid: boolean; readonly described: string };
  readonly onChange: (value: unknown) => void;
}

function Control({ schema, value, input, onChange }: ControlProps) {
  const common = { id: input.id, 'aria-invalid': input.invalid, 'aria-describedby': input.described };
  const byDefault = schema.default === undefined ? 'not set' : `${words(schema.default)} (default)`;
  switch (kindOf(schema)) {
    case 'choice':
      return (
        <Choice {...common} byDefault={byDefault} value={value} choices={choicesOf(schema) ?? []} onChange={onChange} />
      );
    case 'switch':
      return <Choice {...common} byDefault={byDefault} value={value} choices={[true, false]} onChange={onChange} />;
    case 'number':
      return (
        <input
          {...common}
          type="number"
          inputMode="decimal"
          step={schema.type === 'integer' ? 1 : 'any'}
          placeholder={byDefault}
          value={typeof value === 'number' ? value : ''}
          onInput={({ currentTarget }) =>
            onChange(
              currentTarget.value === '' && !currentTarget.validity.badInput ? undefined : currentTarget.valueAsNumber,
            )
          }
        />
      );
    case 'text': {
      const text = {
        ...common,
        placeholder: byDefault,
        value: typeof value === 'string' ? value : '',
        onInput: ({ currentTarget }: { currentTarget: { value: string } }) =>
          onChange(currentTarget.value === '' ? undefined : currentTarget.value),
      };
      const isLong = (schema.maxLength ?? 0) > LONG_TEXT && schema.title !== 'Address';
      return isLong ? <textarea rows={2} {...text} /> : <input type="text" autocomplete="off" {...text} />;
    }
    case 'lines':
      return (
        <textarea
          {...common}
          rows={3}
          placeholder={`${byDefault}; one in each line`}
          value={Array.isArray(value) ? value.join('\n') : ''}
          onInput={({ currentTarget }) => {
            const lines = currentTarget.value.split('\n').filter((line) => line.trim() !== '');
            onChange(lines.length === 0 ? undefined : lines);
          }}
        />
      );
    default:
      return <JsonText {...common} placeholder={byDefault} value={value} onChange={onChange} />;
  }
}

interface ChoiceProps {
  readonly id: string;
  readonly byDefault: ComponentChildren;
  readonly value: unknown;
  readonly choices: readonly (string | number | boolean)[];
  readonly onChange: (value: unknown) => void;
}

function Choice({ byDefault, value, choices, onChange, ...common }: ChoiceProps) {
  return (
    <select
      {...common}
      value={value === undefined ? '' : String(value)}
      onChange={({ currentTarget }) => onChange(choices.find((each) => String(each) === currentTarget.value))}
    >
      <option value="">{byDefault}</option>
      {choices.map((each) => (
        <option key={String(each)} value={String(each)}>
          {words(each)}
        </option>
      ))}
    </select>
  );
}

/** What has no field of its own shape: as it stands in a file. */
function JsonText({
  value,
  onChange,
  ...common
}: {
  readonly id: string;
  readonly placeholder: string;
  readonly value: unknown;
  readonly onChange: (value: unknown) => void;
}) {
  const [text, setText] = useState(value === undefined ? '' : JSON.stringify(value));
  return (
    <textarea
      {...common}
      rows={2}
      spellcheck={false}
      value={text}
      onInput={({ currentTarget }) => {
        setText(currentTarget.value);
        if (currentTarget.value.trim() === '') return onChange(undefined);
        try {
          onChange(JSON.parse(currentTarget.value));
        } catch {
          // NaN is no JSON: the fault that it has is shown.
          onChange(Number.NaN);
        }
      }}
    />
  );
}

function words(value: unknown): string {
  if (value === true) return 'yes';
  if (value === false) return 'no';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
