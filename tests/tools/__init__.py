"""Tools for measurements that need files of other projects, which are not kept here."""
