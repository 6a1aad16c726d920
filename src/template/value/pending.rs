//! The answer to a question that has not been asked yet.
//!
//! Rendering goes on after a question to the minion, to find the questions behind it. Whatever is computed from a pending value is
//! pending. Once a decision has been taken on one (`if`, `for`), the rest of this rendering may be a path that the real answer
//! would not have taken: commands met there must not be run. See [`Questions`](crate::template::questions::Questions).

use crate::template::questions::Questions;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Error, State, Value};
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

#[derive(Debug)]
pub struct Pending {
    questions: Arc<Questions>,
}

thread_local! {
    /// The questions of the rendering under way on this thread, once one of its values is pending.
    static SEEN: RefCell<Option<Arc<Questions>>> = const { RefCell::new(None) };
}

impl Pending {
    /// What a pending value prints as; text that holds it is pending too. A code point that is no character.
    pub const MARK: char = '\u{10fffe}';

    pub fn value(questions: Arc<Questions>) -> Value {
        SEEN.set(Some(questions.clone()));
        Value::from_object(Pending { questions })
    }

    /// To be called before a rendering.
    pub fn forget() {
        SEEN.set(None);
    }

    /// A pending value if one of `values` is pending, or is text that holds one.
    pub fn among<'a>(values: impl IntoIterator<Item = &'a Value>) -> Option<Value> {
        let questions = SEEN.with_borrow(Option::clone)?;
        values
            .into_iter()
            .any(|value| {
                value.downcast_object_ref::<Pending>().is_some()
                    || value.as_str().is_some_and(|text| text.contains(Pending::MARK))
            })
            .then(|| Pending::value(questions))
    }

    /// A decision was taken on it.
    pub fn decided(&self) {
        self.questions.decided();
    }
}

impl Object for Pending {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Pending::value(self.questions.clone()))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.decided();
        Enumerator::Empty
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.decided();
        false
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, _: &[Value]) -> Result<Value, Error> {
        Ok(Pending::value(self.questions.clone()))
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, _: &str, _: &[Value]) -> Result<Value, Error> {
        Ok(Pending::value(self.questions.clone()))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Pending::MARK)
    }
}
