/** Vite bundles style sheets; to the compiler they are modules of nothing. */
declare module '*.css';
