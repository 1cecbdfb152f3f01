import { useState } from 'preact/hooks';
import type { Setup } from '../../../../../api/setup-schemas.js';
import { outcomeOf, useConfig } from '../settings/use-config.js';

interface FileCamera {
  readonly id: string;
  readonly address: string;
}

const NETWORK = 'network';

/** Another source for a camera, of those that a page may choose. */
export function SourcePicker({
  devices,
  onChanged,
}: {
  readonly devices: Setup['devices'];
  readonly onChanged: () => void;
}) {
  const config = useConfig();
  const { overview, failure } = config;
  const [index, setIndex] = useState(0);
  const [source, setSource] = useState('');
  const [address, setAddress] = useState('');
  const [said, setSaid] = useState<string>();
  if (overview === undefined) return failure === undefined ? null : <p class="hint">{failure}</p>;
  const cameras = (Array.isArray(overview.values.cameras) ? overview.values.cameras : []) as FileCamera[];
  const camera = cameras[index];
  if (camera === undefined) return null;
  const choices = [
    ...devices.map((device) => ({
      value: device.address,
      words: `${device.name} (${device.address})${device.isAccessible ? '' : ', not permitted'}`,
    })),
    { value: 'csi:0', words: 'Camera at the first CSI connector (csi:0)' },
    { value: 'csi:1', words: 'Camera at the second CSI connector (csi:1)' },
    { value: 'test:moving', words: 'Test picture, moving' },
    { value: NETWORK, words: 'A network camera…' },
  ];

  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    setSaid(undefined);
    const value = source === NETWORK ? address.trim() : source;
    const saved = await config.save([{ path: ['cameras', index, 'address'], value }]);
    if (saved === undefined) return;
    setSaid(outcomeOf(saved));
    onChanged();
  };
  return (
    <details class="sources">
      <summary>Choose another camera</summary>
      <form class="row" onSubmit={(event) => void submit(event)}>
        {cameras.length > 1 && (
          <label>
            For
            <select value={index} onChange={({ currentTarget }) => setIndex(Number(currentTarget.value))}>
              {cameras.map(({ id }, each) => (
                <option key={id} value={each}>
                  {id}
                </option>
              ))}
            </select>
          </label>
        )}
        <label class="grow">
          Source; now {camera.address}
          <select required value={source} onChange={({ currentTarget }) => setSource(currentTarget.value)}>
            <option value="">Choose…</option>
            {choices.map(({ value, words }) => (
              <option key={value} value={value}>
                {words}
              </option>
            ))}
          </select>
        </label>
        {source === NETWORK && (
          <label class="grow">
            Address
            <input
              value={address}
              required
              placeholder="rtsp://user:password@10.0.0.7/stream"
              autocomplete="off"
              onInput={({ currentTarget }) => setAddress(currentTarget.value)}
            />
          </label>
        )}
        <button type="submit" disabled={overview.readOnly !== null}>
          Use it
        </button>
      </form>
      {overview.readOnly !== null && <p class="failure">{overview.readOnly}</p>}
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      <p role="status">{said}</p>
    </details>
  );
}
