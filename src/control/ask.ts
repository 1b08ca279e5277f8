/** What is asked at the control socket, and what is answered. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { RequestSchema, Response } from '../../protocol/gen/shellstream/control/v1/control_pb.ts';

export type Asked = NonNullable<MessageInitShape<typeof RequestSchema>['ask']>;
export type Answer = Response['answer'];
export type AnswerOf<Case extends Answer['case']> = Extract<Answer, { case: Case }>;

export type Ask = <Case extends NonNullable<Answer['case']>>(asked: Asked, expected: Case) => Promise<AnswerOf<Case>>;
