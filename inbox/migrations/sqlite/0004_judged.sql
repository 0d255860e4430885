-- Headers of a kept entry that was judged again and holds but for the provider's word: it goes on with them once that is there.
ALTER TABLE payload ADD COLUMN judged BLOB;
