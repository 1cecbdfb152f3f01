import { useEffect, useState } from 'preact/hooks';
import type { DeviceInfo, DoctorReport, MadeToken, TokenList } from '../../../api/schemas.js';
import { get, send } from '../api.js';
import type { PageProps } from '../app.js';

const ROLES = ['display', 'operator', 'admin'] as const;

export function DevicePage({ session }: PageProps) {
  const [device, setDevice] = useState<DeviceInfo>();
  useEffect(() => {
    get<DeviceInfo>('/api/device').then(setDevice, () => {});
  }, []);
  return (
    <>
      <h1>Device</h1>
      <div class="halves">
        <section class="card" aria-label="Versions">
          <h2>{session.device}</h2>
          <dl class="facts-list">
            {Object.entries(device?.versions ?? {}).map(([name, version]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{version}</dd>
              </div>
            ))}
          </dl>
        </section>
        <section class="card" aria-label="Model">
          <h2>Model</h2>
          {device?.attribution && <p class="attribution">{device.attribution}</p>}
          {device?.model ? (
            <dl class="facts-list">
              {Object.entries(device.model).map(([name, value]) => (
                <div key={name}>
                  <dt>{name}</dt>
                  <dd>{typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value)}</dd>
                </div>
              ))}
            </dl>
          ) : (
            <p>The model is being loaded.</p>
          )}
        </section>
      </div>
      {session.role !== 'display' && <Doctor />}
      {session.role === 'admin' && <Access />}
    </>
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

/** Passwords and tokens. */
function Access() {
  const [tokens, setTokens] = useState<TokenList['tokens']>([]);
  const [made, setMade] = useState<MadeToken>();
  const [said, setSaid] = useState<string>();
  const refresh = (): void =>
    void get<TokenList>('/api/tokens').then(
      (list) => setTokens(list.tokens),
      () => {},
    );
  useEffect(refresh, []);

  const submit = (work: (form: FormData) => Promise<string>) => async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    setSaid(undefined);
    try {
      setSaid(await work(new FormData(form)));
      form.reset();
    } catch (error) {
      setSaid(error instanceof Error ? error.message : String(error));
    }
    refresh();
  };
  const setPassword = submit(async (form) => {
    await send('PUT', `/api/passwords/${String(form.get('role'))}`, { password: String(form.get('password')) });
    return `The password of ${String(form.get('role'))} is set. Who came in with the old one signs in again.`;
  });
  const makeToken = submit(async (form) => {
    setMade(
      await send<MadeToken>('POST', '/api/tokens', { name: String(form.get('name')), role: String(form.get('role')) }),
    );
    return 'Copy the token now: it is not shown again.';
  });

  return (
    <section class="card" aria-label="Access">
      <h2>Who may come in</h2>
      <p>display sees; operator also asks; admin also changes this.</p>
      <form class="row" onSubmit={(event) => void setPassword(event)}>
        <RoleSelect />
        <label>
          New password
          <input name="password" type="password" minLength={10} required autocomplete="new-password" />
        </label>
        <button type="submit">Set password</button>
      </form>
      <form class="row" onSubmit={(event) => void makeToken(event)}>
        <RoleSelect />
        <label>
          Name of a program
          <input name="name" maxLength={64} required autocomplete="off" />
        </label>
        <button type="submit">Make a token</button>
      </form>
      <p role="status">{said}</p>
      {made && (
        <p>
          <code>{made.secret}</code>
        </p>
      )}
      <ul class="tokens">
        {tokens.map(({ id, name, role, createdAtMs }) => (
          <li key={id}>
            {name} ({role}, {new Date(createdAtMs).toLocaleDateString()}){' '}
            <button
              type="button"
              class="quiet"
              aria-label={`Revoke the token ${name}`}
              onClick={() => void send('DELETE', `/api/tokens/${id}`).then(refresh, refresh)}
            >
              Revoke
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function RoleSelect() {
  return (
    <label>
      Role
      <select name="role">
        {ROLES.map((role) => (
          <option key={role}>{role}</option>
        ))}
      </select>
    </label>
  );
}
