-- Parts of raw events are merged column by column: rows are compared by the columns of the order
-- alone, and the others follow in runs. It takes little more than half of the processor's time
-- of comparing and copying row by row, which is the default for fewer than eleven such columns.
-- Each statement may be run again.

ALTER TABLE events_raw MODIFY SETTING vertical_merge_algorithm_min_columns_to_activate = 1;
