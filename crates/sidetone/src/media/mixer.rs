//! The room as a gain matrix: who hears whom, and how loud.
