import { useEffect, useState } from 'preact/hooks';
import type { MadeToken, TokenList } from '../../../../api/schemas.js';
import { get, send } from '../../api.js';

const ROLES = ['display', 'operator', 'admin'] as const;

/** Passwords and tokens. */
export function Access() {
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
