import { useEffect, useState } from 'preact/hooks';
import type { DeviceInfo, DoctorReport } from '../../../../api/schemas.js';
import type { LicencesInfo } from '../../../../api/setup-schemas.js';
import { get } from '../../api.js';
import type { PageProps } from '../../app.js';
import { messageOf } from '../../messages.js';

/** Names of the model's figures, in the words of people. */
const MODEL_WORDS: Readonly<Record<string, string>> = {
  id: 'Name',
  hash: 'Hash of its content',
  backend: 'Runs on',
  weights: 'Weights',
  numerics: 'Numerics',
  contextLength: 'Context, tokens',
  writesBoxes: 'Draws boxes',
};

export function Overview({ session }: PageProps) {
  const [device, setDevice] = useState<DeviceInfo>();
  const [terms, setTerms] = useState<LicencesInfo>();
  const [failure, setFailure] = useState<string>();
  useEffect(() => {
    // Together, so that nothing is pushed aside by what comes later.
    Promise.all([get<DeviceInfo>('/api/device'), get<LicencesInfo>('/api/licences')]).then(
      ([info, licences]) => {
        setDevice(info);
        setTerms(licences);
      },
      (error: unknown) => setFailure(messageOf(error)),
    );
  }, []);
  if (failure !== undefined) return <p class="failure">{failure}</p>;
  if (device === undefined || terms === undefined) return <p>Loading…</p>;
  const isLlama = device.attribution !== null || terms.model.llama !== null;
  return (
    <>
      <div class="halves">
        <section class="card" aria-label="Versions">
          <h2>{session.device}</h2>
          <dl class="facts-list">
            {Object.entries(device.versions).map(([name, version]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{version}</dd>
              </div>
            ))}
          </dl>
          {session.role === 'admin' && (
            <>
              <p>
                For whoever helps with this device: its settings, versions, health and log in one file, without pictures
                and without secrets.
              </p>
              <a class="button" href="/api/diagnostics" download>
                Download the diagnostics bundle
              </a>
            </>
          )}
        </section>
        <section class="card" aria-label="Model">
          <h2>Model</h2>
          {isLlama && <p class="attribution">Built with Llama</p>}
          {device.model ? (
            <dl class="facts-list">
              {Object.entries(device.model).map(([name, value]) => (
                <div key={name}>
                  <dt>{MODEL_WORDS[name] ?? name}</dt>
                  <dd>{typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value)}</dd>
                </div>
              ))}
            </dl>
          ) : (
            <p>The model is being loaded.</p>
          )}
        </section>
      </div>
      <Terms terms={terms} />
      {session.role !== 'display' && <Doctor />}
    </>
  );
}

function Terms({ terms: { product, model } }: { readonly terms: LicencesInfo }) {
  return (
    <section class="card" aria-label="Licences">
      <h2>Licences</h2>
      {model.llama !== null && (
        <>
          <p>The model is under the Llama Community License: {model.llama}. It asks of whoever runs or hands on this device:</p>
          <ul class="duties">
            {model.duties.map((duty) => (
              <li key={duty}>{duty}</li>
            ))}
          </ul>
        </>
      )}
      {model.texts.length === 0 && <p>The folder of the model holds no licence text.</p>}
      {[
        { of: 'Model', texts: model.texts },
        { of: 'SceneBus', texts: product },
      ].flatMap(({ of, texts }) =>
        texts.map(({ name, text }) => (
          <details key={`${of} ${name}`}>
            <summary>
              {of}: {name}
            </summary>
            <pre tabIndex={0} aria-label={`${name} of ${of}`}>
              {text}
            </pre>
          </details>
        )),
      )}
    </section>
  );
}

const WORDS = { ok: 'there', absent: 'absent', problem: 'problem' } as const;

function Doctor() {
  const [report, setReport] = useState<DoctorReport>();
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState<string>();
  const look = async (): Promise<void> => {
    setBusy(true);
    setFailure(undefined);
    await get<DoctorReport>('/api/doctor').then(setReport, (error: Error) => setFailure(error.message));
    setBusy(false);
  };
  return (
    <section class="card" aria-label="Doctor">
      <h2>Doctor</h2>
      <p>What this machine has, what is missing, and what each absence means.</p>
      <button type="button" disabled={isBusy} onClick={() => void look()}>
        {isBusy ? 'Looking…' : 'Look at the machine'}
      </button>
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      <ul class="findings" aria-live="polite">
        {report?.findings.map(({ id, title, status, value, meaning, remedy }) => (
          <li key={id} data-status={status}>
            <b>{title}</b> <span class="status">{WORDS[status]}</span> {value}
            {meaning && <p class="hint">{meaning}</p>}
            {remedy && <p class="hint">To do: {remedy}</p>}
          </li>
        ))}
      </ul>
    </section>
  );
}
