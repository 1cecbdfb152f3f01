import { useState } from 'preact/hooks';
import type { SessionInfo } from '../../../api/schemas.js';
import { ApiError, signIn } from '../api.js';

export interface SignInProps {
  readonly info: SessionInfo;
  readonly error: string | undefined;
  readonly onEnter: (info: SessionInfo) => void;
}

export function SignIn({ info, error, onEnter }: SignInProps) {
  const [role, setRole] = useState<string>(info.passwords.includes('admin') ? 'admin' : (info.passwords[0] ?? 'token'));
  const [secret, setSecret] = useState('');
  const [failure, setFailure] = useState(error);
  const [isBusy, setBusy] = useState(false);
  const isToken = role === 'token';

  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setFailure(undefined);
    try {
      onEnter(await signIn(isToken ? { token: secret.trim() } : { role, password: secret }));
    } catch (problem) {
      setFailure(problem instanceof ApiError ? problem.message : String(problem));
      setBusy(false);
    }
  };

  return (
    <main class="alone">
      <form class="card" onSubmit={submit}>
        <h1>
          <img src="/icon.svg" alt="" width="32" height="32" /> SceneBus {info.device}
        </h1>
        {info.passwords.length === 0 && (
          <p>
            Open the one-time link that the service printed when it started; or enter a token. The link works once:
            restart the service for a new one.
          </p>
        )}
        {info.passwords.length > 0 && (
          <label>
            Sign in as
            <select value={role} onChange={({ currentTarget }) => setRole(currentTarget.value)}>
              {info.passwords.map((name) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
              <option value="token">a token</option>
            </select>
          </label>
        )}
        <label>
          {isToken ? 'Token' : 'Password'}
          <input
            type="password"
            autocomplete="current-password"
            required
            value={secret}
            onInput={({ currentTarget }) => setSecret(currentTarget.value)}
          />
        </label>
        {failure !== undefined && (
          <p class="failure" role="alert">
            {failure}
          </p>
        )}
        <button type="submit" disabled={isBusy}>
          Sign in
        </button>
      </form>
    </main>
  );
}
