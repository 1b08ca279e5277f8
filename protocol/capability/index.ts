/** What a session may do: the words (`model.ts`), the tier of an identity, the decision, and grants compared. */
export * from './compare.ts';
export * from './decide.ts';
export * from './model.ts';
export * from './offer.ts';
export * from './scope.ts';
export * from './tier.ts';
