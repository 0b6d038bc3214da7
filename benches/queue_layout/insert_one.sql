-- The reference: one wide row per commit.
insert into a.messages select * from new_rows(1, '0');
