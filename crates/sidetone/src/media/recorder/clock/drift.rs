//! What a sender's clock does against ours: the line below the delays of its packets.

/// Spans of which the fastest packets are known.
const POINTS: usize = 64;
/// How long a span is at first, in seconds, and how long it grows: 64 of them are 8.5 minutes.
const SPAN: (f64, f64) = (0.5, 8.0);
/// Seconds until the fastest packet has been seen and a slope can be told.
const SETTLED: f64 = 4.0;
/// No sender's clock is further off.
const MOST: f64 = 1e-3;
/// By how much more of that is believed each second: few clocks are far off, and little is known at first.
const BELIEF: f64 = 15e-6;
/// Milliseconds that a span may lie beside the line however calm the network is.
const ODD_MS: f64 = 1.0;
/// How many times what spans lie above the line on the whole.
const ODD_NOISE: f64 = 6.0;
/// Spans that are known before one can be odd.
const KNOWN: usize = 8;

/// The fastest packet of a span of time: when it was sent, and its delay, in samples of the recording.
#[derive(Debug, Clone, Copy, Default)]
struct Point {
    sent: f64,
    delay: f64,
}

/// Where a stream's samples belong, by its fastest packets.
///
/// Jitter and queues only ever add to a delay. So the line that lies below all packets' delays, as near to them
/// as it can, is the network's least delay, and its slope is what the sender's clock is off (Moon, Skelly and
/// Towsley, "Estimation and removal of clock skew from network delay measurements", 1999). Of each span of time
/// the fastest packet is kept; their lower hull has the line. Spans double as the stream goes on, so the line is
/// there soon and exact later, with 64 points at any time.
///
/// Two spans in a row far beside the line are news: a step is a change of route, which moves no speech, and
/// is followed only beyond [`ROUTE_MS`](super::ROUTE_MS); anything else is a clock that has changed its pace, or
/// a small step, and what was known before is forgotten.
#[derive(Debug, Clone)]
pub(super) struct Drift {
    /// Samples of the recording a tick of the stream, if its clock is true.
    scale: f64,
    hz: f64,
    /// Media time of the beginning, and where it belongs.
    time: i64,
    at: f64,
    points: [Point; POINTS],
    len: usize,
    /// The fastest packet of this span, how long spans are, and when this one ends.
    fastest: Option<Point>,
    span: f64,
    ends: f64,
    /// The span before, where it was odd.
    odd: Option<Point>,
    /// The line.
    offset: f64,
    slope: f64,
    /// What spans lie above the line on the whole.
    noise: f64,
    /// What the network's least delay has changed at once since the beginning.
    route: f64,
    /// What is known holds from the beginning on.
    is_steady: bool,
    /// Where the stream stands.
    newest: f64,
}

impl Drift {
    pub(super) fn new(hz: u32, rtp_clock: u32) -> Self {
        let hz = f64::from(hz);
        Self {
            scale: hz / f64::from(rtp_clock),
            hz,
            time: 0,
            at: 0.0,
            points: [Point::default(); POINTS],
            len: 0,
            fastest: None,
            span: SPAN.0 * hz,
            ends: SPAN.0 * hz,
            odd: None,
            offset: 0.0,
            slope: 0.0,
            noise: 0.0,
            route: 0.0,
            is_steady: true,
            newest: 0.0,
        }
    }

    /// Whether where the stream began is known as well as it ever will be: neither route nor pace have changed since.
    pub(super) fn is_sure(&self) -> bool {
        self.is_steady && self.newest >= super::SURE.as_secs_f64() * self.hz
    }

    /// The stream begins: `media_time` belongs at `at`, as far as is known.
    pub(super) fn begin(&mut self, media_time: i64, at: i64) {
        (self.time, self.at) = (media_time, at as f64);
        (self.len, self.odd) = (0, None);
        self.fastest = Some(Point::default());
        (self.span, self.ends) = (SPAN.0 * self.hz, SPAN.0 * self.hz);
        (self.offset, self.slope, self.noise, self.route) = (0.0, 0.0, 0.0, 0.0);
        (self.is_steady, self.newest) = (true, 0.0);
    }

    /// Where `media_time` belongs.
    pub(super) fn estimate(&self, media_time: i64) -> f64 {
        let sent = self.sent(media_time);
        self.at + sent + self.line(sent)
    }

    /// Learns that the packet with `media_time` came when the recording's clock stood at `came`.
    pub(super) fn learn(&mut self, media_time: i64, came: f64) {
        let sent = self.sent(media_time);
        self.newest = self.newest.max(sent);
        let point = Point {
            sent,
            delay: came - self.at - sent - self.route,
        };
        if sent >= self.ends {
            self.end_span(sent);
            self.ends = sent + self.span;
        }
        if !self.is_settled(sent) {
            self.offset = self.offset.min(point.delay);
        }
        let height = |point: Point| point.delay - self.slope * point.sent;
        if self.fastest.is_none_or(|it| height(point) < height(it)) {
            self.fastest = Some(point);
        }
    }

    fn sent(&self, media_time: i64) -> f64 {
        (media_time - self.time) as f64 * self.scale
    }

    fn line(&self, sent: f64) -> f64 {
        self.offset + self.slope * sent
    }

    fn is_settled(&self, sent: f64) -> bool {
        sent >= SETTLED * self.hz
    }

    fn end_span(&mut self, now: f64) {
        let Some(mut fastest) = self.fastest.take() else {
            return;
        };
        if self.len >= KNOWN && self.is_odd(&mut fastest) {
            return;
        }
        self.keep(fastest);
        if self.is_settled(now) {
            self.fit(now);
        }
    }

    /// Whether a span lies so far beside the line that the next one has to confirm it. Where this is the next
    /// one, it is dealt with.
    fn is_odd(&mut self, point: &mut Point) -> bool {
        let miss = point.delay - self.line(point.sent);
        let most = ODD_MS * self.hz / 1000.0 + ODD_NOISE * self.noise;
        let before = self.odd.take();
        if miss.abs() <= most {
            return false;
        }
        let Some(before) = before.filter(|it| (it.delay - self.line(it.sent)) * miss > 0.0) else {
            self.odd = Some(*point);
            return true;
        };
        self.is_steady = false;
        let change = point.delay - before.delay - self.slope * (point.sent - before.sent);
        let is_step = change.abs() <= miss.abs() / 2.0;
        if is_step && miss.abs() > super::STEP_MS as f64 * self.hz / 1000.0 {
            point.delay -= miss;
            self.reroute(miss, point);
        } else {
            (self.len, self.span) = (0, 2.0 * SPAN.0 * self.hz);
            self.keep(before);
        }
        false
    }

    /// The network's least delay has changed at once.
    fn reroute(&mut self, by: f64, point: &mut Point) {
        let most = super::ROUTE_MS as f64 * self.hz / 1000.0;
        let route = self.route + by;
        self.route = route.clamp(-most, most);
        let beyond = route - self.route;
        for point in self.points.iter_mut().take(self.len).chain([point]) {
            point.delay += beyond;
        }
        self.offset += beyond;
    }

    fn keep(&mut self, point: Point) {
        if self.len == POINTS {
            self.make_room();
        }
        if let Some(place) = self.points.get_mut(self.len) {
            *place = point;
            self.len += 1;
        }
    }

    /// Makes spans twice as long, or forgets the oldest.
    fn make_room(&mut self) {
        if self.span >= SPAN.1 * self.hz {
            self.points.rotate_left(1);
            self.len -= 1;
            return;
        }
        let height = |point: Point| point.delay - self.slope * point.sent;
        for n in 0..POINTS / 2 {
            let (one, other) = (self.points[2 * n], self.points[2 * n + 1]);
            let is_lower = height(one) < height(other);
            self.points[n] = if is_lower { one } else { other };
        }
        self.len = POINTS / 2;
        self.span *= 2.0;
    }

    /// Lays the line below all points: along the edge of their lower hull that lies over their middle.
    fn fit(&mut self, now: f64) {
        let points = self.points.get(..self.len).unwrap_or_default();
        let count = points.len().max(1) as f64;
        let middle = points.iter().map(|it| it.sent).sum::<f64>() / count;
        let mut hull = [Point::default(); POINTS];
        let mut corners = 0;
        for &point in points {
            while corners >= 2 && is_above(hull[corners - 1], hull[corners - 2], point) {
                corners -= 1;
            }
            hull[corners] = point;
            corners += 1;
        }
        let hull = &hull[..corners];
        let right = hull.partition_point(|it| it.sent < middle).max(1);
        let (Some(from), Some(to)) = (hull.get(right - 1), hull.get(right)) else {
            if let Some(only) = hull.first() {
                self.offset = only.delay - self.slope * only.sent;
            }
            return;
        };
        let slope = (to.delay - from.delay) / (to.sent - from.sent).max(1.0);
        let most = (BELIEF * now / self.hz).min(MOST);
        self.slope = slope.clamp(-most, most);
        let height = |point: &Point| point.delay - self.slope * point.sent;
        let lowest = height(from).min(height(to));
        self.offset = lowest;
        self.noise = points.iter().map(|it| height(it) - lowest).sum::<f64>() / count;
    }
}

/// Whether `point` lies above the line from `from` to `to`, or on it.
fn is_above(point: Point, from: Point, to: Point) -> bool {
    let rise = (to.delay - from.delay) * (point.sent - from.sent);
    (point.delay - from.delay) * (to.sent - from.sent) >= rise
}
