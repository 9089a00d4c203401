// The kit against a card that differs from what is assumed: exactly the checks of that assumption fail.
import { testShare } from './deviations.js';

testShare(2, 5);
