//! Tests: offers and answers.
