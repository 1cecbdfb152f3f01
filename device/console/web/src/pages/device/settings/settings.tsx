import { useState } from 'preact/hooks';
import type { ConfigDiff, ConfigOverview, ConfigPreview } from '../../../../../api/settings-schemas.js';
import { Field, Fields, type FormAccess } from './field.js';
import { faultOf, keyOf, kindOf, type Path, type Schema, titleOf, valueAt } from './schema.js';
import { type Change, outcomeOf, useConfig } from './use-config.js';

/** The configuration as a form. */
export function Settings() {
  const config = useConfig();
  const { overview, failure } = config;
  const [edits, setEdits] = useState<ReadonlyMap<string, Change>>(new Map());
  const [preview, setPreview] = useState<ConfigPreview>();
  const [said, setSaid] = useState<string>();
  /** Counts what was saved: fields begin anew. */
  const [round, setRound] = useState(0);

  if (overview === undefined)
    return failure === undefined ? (
      <p>Loading…</p>
    ) : (
      <p class="failure" role="alert">
        {failure}
      </p>
    );

  const schema = overview.schema as Schema;
  const form: FormAccess = {
    value: (path) => {
      const edit = edits.get(keyOf(path));
      return edit === undefined ? valueAt(overview.values, path) : edit.value;
    },
    isEdited: (path) => edits.has(keyOf(path)),
    problem: (path) =>
      [...(preview?.problems ?? []), ...overview.problems].find((each) => keyOf(each.path) === keyOf(path))?.message,
    change: (path, value) => {
      const next = new Map(edits);
      const isAsBefore = JSON.stringify(valueAt(overview.values, path)) === JSON.stringify(value);
      if (isAsBefore) next.delete(keyOf(path));
      else next.set(keyOf(path), value === undefined ? { path } : { path, value });
      setEdits(next);
      setPreview(undefined);
      setSaid(undefined);
    },
  };
  const changes = [...edits.values()];
  const hasFaults = changes.some(({ path, value }) => {
    const found = schemaAt(schema, path);
    return found !== undefined && value !== undefined && faultOf(found, value) !== undefined;
  });
  const settle = (message: string | undefined): void => {
    if (message === undefined) return;
    setSaid(message);
    setEdits(new Map());
    setPreview(undefined);
    setRound(round + 1);
  };
  const isReadOnly = overview.readOnly !== null;

  return (
    <>
      <Standing overview={overview} />
      {overview.undo && overview.undo.length > 0 && (
        <Undo
          diff={overview.undo}
          onUndo={async () => {
            const saved = await config.undo();
            settle(saved && outcomeOf(saved).replace('Saved.', 'The last change is undone.'));
          }}
        />
      )}
      <form
        key={round}
        class="settings"
        onSubmit={(event) => {
          event.preventDefault();
          void config.preview(changes).then(setPreview);
        }}
      >
        {groupsOf(schema).map(({ title, names }) => (
          <details key={title} class="card group" open={title === 'General'}>
            <summary>
              <h2>{title}</h2>
            </summary>
            {names.map((name) => {
              const each = schema.properties?.[name] ?? {};
              if (name === 'cameras') return <Cameras key={name} schema={each} form={form} values={overview.values} />;
              return kindOf(each) === 'section' && !each.readOnly ? (
                <Fields key={name} schema={each} path={[name]} form={form} />
              ) : (
                <Field key={name} schema={each} path={[name]} form={form} />
              );
            })}
          </details>
        ))}
        <div class="bar" aria-live="polite">
          {failure !== undefined && (
            <p class="failure" role="alert">
              {failure}
            </p>
          )}
          {said !== undefined && <p role="status">{said}</p>}
          {preview && <Review preview={preview} />}
          <div class="row">
            <span class="grow">
              {changes.length === 0 ? 'Nothing is changed.' : `${changes.length} changed: ${[...edits.keys()].join(', ')}`}
            </span>
            {changes.length > 0 && (
              <button type="button" class="quiet" onClick={() => settle('')}>
                Discard
              </button>
            )}
            {preview !== undefined && preview.problems.length === 0 ? (
              <button
                type="button"
                onClick={async () => {
                  const saved = await config.save(changes);
                  settle(saved && outcomeOf(saved));
                }}
              >
                Save and apply
              </button>
            ) : (
              <button type="submit" disabled={changes.length === 0 || hasFaults || isReadOnly}>
                Review the changes
              </button>
            )}
          </div>
        </div>
      </form>
      <Secrets
        secrets={overview.secrets}
        isReadOnly={isReadOnly}
        onReplace={async (id, value) => {
          const saved = await config.replaceSecret(id, value);
          settle(saved && outcomeOf(saved).replace('Saved.', 'The secret is replaced.'));
        }}
      />
    </>
  );
}

/** Single settings together, sections one by one; what is closed as a whole is left out. */
function groupsOf({ properties = {} }: Schema): { readonly title: string; readonly names: readonly string[] }[] {
  const entries = Object.entries(properties);
  const isGroup = ([name, each]: [string, Schema]) => kindOf(each) === 'section' || name === 'cameras';
  const general = entries.filter((entry) => !isGroup(entry) && entry[0] !== 'watches').map(([name]) => name);
  const groups = entries
    .filter(isGroup)
    .filter(([, each]) => !each.readOnly)
    .map(([name, each]) => ({ title: titleOf(name, each), names: [name] }));
  return [{ title: 'General', names: general }, ...groups];
}

function schemaAt(schema: Schema, path: Path): Schema | undefined {
  let found: Schema | undefined = schema;
  for (const step of path) found = typeof step === 'number' ? found?.items : found?.properties?.[step];
  return found;
}

function Standing({ overview }: { readonly overview: ConfigOverview }) {
  const { name, isTemporary, readOnly, needsRestart, problems } = overview;
  return (
    <section class="card" aria-label="The configuration file">
      <h2>{name}</h2>
      {isTemporary && <p>There is no file: what you change lasts as long as this device runs.</p>}
      {readOnly !== null && <p class="failure">{readOnly}</p>}
      {needsRestart.length > 0 && (
        <p>
          <b>Waiting for a restart of the service:</b> {needsRestart.join(', ')}
        </p>
      )}
      {problems.map(({ path, message }) => (
        <p key={keyOf(path)} class="failure">
          {keyOf(path)}: {message}
        </p>
      ))}
      <p class="hint">
        Comments in the file are kept. What names files, opens ports or decides who gets in is changed in the file only.
      </p>
    </section>
  );
}

function Review({ preview: { problems, diff, applied, needsRestart } }: { readonly preview: ConfigPreview }) {
  if (problems.length > 0)
    return (
      <ul role="alert">
        {problems.map(({ path, message }) => (
          <li key={keyOf(path)} class="failure">
            {keyOf(path)}: {message}
          </li>
        ))}
      </ul>
    );
  return (
    <>
      <Diff diff={diff} />
      {applied.length > 0 && (
        <p>
          <b>Holds at once:</b> {applied.join(', ')}
        </p>
      )}
      {needsRestart.length > 0 && (
        <p>
          <b>Holds after a restart of the service:</b> {needsRestart.join(', ')}
        </p>
      )}
    </>
  );
}

const SIGNS = { same: ' ', removed: '−', added: '+' } as const;

function Diff({ diff }: { readonly diff: ConfigDiff }) {
  return (
    <pre class="diff" tabIndex={0} aria-label="Lines of the file that change">
      {diff.map(({ kind, text }, index) => (
        <div key={`${index} ${text}`} class={kind}>
          {SIGNS[kind]} {text}
        </div>
      ))}
    </pre>
  );
}

function Undo({ diff, onUndo }: { readonly diff: ConfigDiff; readonly onUndo: () => void }) {
  return (
    <section class="card undo" aria-label="The last change">
      <details>
        <summary>What the version before was</summary>
        <Diff diff={diff} />
      </details>
      <button type="button" class="quiet" onClick={onUndo}>
        Undo the last change
      </button>
    </section>
  );
}

function Cameras({
  schema,
  form,
  values,
}: {
  readonly schema: Schema;
  readonly form: FormAccess;
  readonly values: Readonly<Record<string, unknown>>;
}) {
  const cameras = Array.isArray(values.cameras) ? (values.cameras as { id?: string }[]) : [];
  const items = withoutMasks(schema.items ?? {});
  return (
    <>
      {cameras.map(({ id = '' }, index) => {
        const path = ['cameras', index];
        const isGone = form.isEdited(path);
        return (
          <details key={id} class="camera-settings" open={cameras.length === 1}>
            <summary>
              <h3>{id}</h3>
            </summary>
            {isGone ? (
              <p>This camera will be removed.</p>
            ) : (
              <>
                <Fields schema={items} path={path} form={form} />
                <p>
                  <a href={`#/device?part=masks&camera=${encodeURIComponent(id)}`}>Edit its privacy masks</a>
                </p>
              </>
            )}
            {cameras.length > 1 && !isGone && (
              <button type="button" class="quiet" onClick={() => form.change(path, undefined)}>
                Remove this camera
              </button>
            )}
          </details>
        );
      })}
    </>
  );
}

function withoutMasks(schema: Schema): Schema {
  const { masks: _, ...properties } = schema.properties ?? {};
  return { ...schema, properties };
}

function Secrets({
  secrets,
  isReadOnly,
  onReplace,
}: {
  readonly secrets: ConfigOverview['secrets'];
  readonly isReadOnly: boolean;
  readonly onReplace: (id: string, value: string) => Promise<void>;
}) {
  return (
    <section class="card" aria-label="Secrets">
      <h2>Secrets</h2>
      <p class="hint">They are never shown. What is set can be replaced.</p>
      {secrets.map(({ id, title, isSet, fixed }) => (
        <form
          key={id}
          class="secret"
          onSubmit={(event) => {
            event.preventDefault();
            const target = event.currentTarget as HTMLFormElement;
            void onReplace(id, String(new FormData(target).get('value'))).then(() => target.reset());
          }}
        >
          <b>{title}</b> <span class="status">{isSet ? 'set' : 'not set'}</span>
          {fixed !== null ? (
            <p class="hint">{fixed}</p>
          ) : (
            <div class="row">
              <label class="grow">
                Another one
                <input name="value" type="password" required autocomplete="new-password" disabled={isReadOnly} />
              </label>
              <button type="submit" disabled={isReadOnly}>
                Replace
              </button>
            </div>
          )}
        </form>
      ))}
    </section>
  );
}
