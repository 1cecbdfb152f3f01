import type { Lamp } from '../../../../api/schemas.js';

const LAMP_WORDS: Readonly<Record<Lamp['state'], string>> = { good: 'well', waiting: 'waiting', bad: 'in trouble' };

/** How a part is, why, and what to do; what the part itself said for whoever helps. */
export function LampCard({ name, lamp }: { readonly name: string; readonly lamp: Lamp | undefined }) {
  const state = lamp?.state ?? 'waiting';
  return (
    <div class={`card lamp ${state}`} data-lamp={name} data-state={state}>
      <h2>
        <span class="light" aria-hidden="true" />
        {name} <span class="word">{LAMP_WORDS[state]}</span>
      </h2>
      <p aria-live="polite">
        {lamp?.reason ?? 'The device is being asked.'} {lamp?.remedy && <em>{lamp.remedy}</em>}
      </p>
      {lamp?.detail && (
        <details>
          <summary>What it said</summary>
          <p class="hint">{lamp.detail}</p>
        </details>
      )}
    </div>
  );
}
