//! The E-model: what listeners and talkers would say of a call (G.107, G.107.1, G.107.2).

use crate::time::Duration;

/// The band that a rating speaks of. Ratings of different bands are on different scales: 93.2 is the
/// best telephone call of old, 129 the best in wide band, 148 the best in full band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Band {
    /// 300 to 3,400 Hz (G.107).
    #[default]
    Narrow,
    /// 50 to 7,000 Hz (G.107.1).
    Wide,
    /// 20 to 20,000 Hz (G.107.2).
    Full,
}

/// What a codec does to speech, with and without loss (G.113).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Equipment {
    /// The scale that the factors are on.
    pub band: Band,
    /// The equipment impairment factor Ie: what coding alone costs of the rating.
    pub impairment: f64,
    /// The packet-loss robustness factor Bpl: the higher, the less loss costs.
    pub robustness: f64,
}

/// What happened to speech between mouth and ear.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// The share of packets that were not there to be played, 0 to 1.
    pub loss: f64,
    /// How bursty the loss is: BurstR of G.107, 1 for random loss.
    pub burst_ratio: f64,
    /// From mouth to ear, one way; the way back is taken to last as long.
    pub delay: Duration,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            loss: 0.0,
            burst_ratio: 1.0,
            delay: Duration::ZERO,
        }
    }
}

/// Transmission ratings and the opinions they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rating {
    /// The scale of the ratings.
    pub band: Band,
    /// The transmission rating factor R, delay counted in: 0 to 93.2, 129 or 148 by the band.
    pub r: f64,
    /// Mean opinion score of a conversation, 1 to 4.5, estimated (MOS-CQE).
    pub mos_cq: f64,
    /// Mean opinion score of listening alone, which no delay disturbs (MOS-LQE).
    pub mos_lq: f64,
}

/// Rates a call, all but `conditions` at the default values of the recommendations.
///
/// In narrow band the telephones at both ends let a little echo through (TELR 65 dB, G.107 table 3),
/// which long delay lays bare. In wide and full band only the delay itself counts.
///
/// ```
/// use sidetone::media::quality::emodel::{Band, Conditions, Equipment, rate};
/// let pcm = Equipment { band: Band::Narrow, impairment: 0.0, robustness: 25.1 };
/// let rating = rate(&pcm, &Conditions::default());
/// assert_eq!(format!("{:.1} {:.1}", rating.r, rating.mos_cq), "93.2 4.4");
/// ```
pub fn rate(equipment: &Equipment, conditions: &Conditions) -> Rating {
    let band = equipment.band;
    let delay = conditions.delay.as_secs_f64() * 1_000.0;
    let impaired = loss_impairment(equipment, conditions);
    let (best, delayed) = match band {
        Band::Narrow => (narrow::best(), narrow::delay_impairment(delay)),
        Band::Wide => (WIDE_BEST, pure_delay(delay)),
        Band::Full => (FULL_BEST, FULL_SCALE * pure_delay(delay)),
    };
    let listening = (best - impaired).max(0.0);
    let r = (listening - delayed).max(0.0);
    Rating {
        band,
        r,
        mos_cq: mos(band, r),
        mos_lq: mos(band, listening),
    }
}

/// The best rating in wide band (G.107.1 §7.2).
const WIDE_BEST: f64 = 129.0;
/// The best rating in full band (G.107.2 §7.2).
const FULL_BEST: f64 = 148.0;
const WIDE_SCALE: f64 = 1.29;
const FULL_SCALE: f64 = 1.48;

/// The mean opinion score, 1 to 4.5, that a rating stands for (annex A of G.107.1 and G.107.2, annex B
/// of G.107).
pub fn mos(band: Band, r: f64) -> f64 {
    let r = match band {
        Band::Narrow => r,
        Band::Wide => r / WIDE_SCALE,
        Band::Full => r / FULL_SCALE,
    };
    if r <= 0.0 {
        return 1.0;
    }
    if r >= 100.0 {
        return 4.5;
    }
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0)
}

/// The effective equipment impairment factor Ie,eff (G.107 §7.5, G.107.1 §7.5, G.107.2 §7.5).
fn loss_impairment(equipment: &Equipment, conditions: &Conditions) -> f64 {
    let worst = match equipment.band {
        Band::Narrow | Band::Wide => 95.0,
        Band::Full => 132.0,
    };
    let loss = conditions.loss.clamp(0.0, 1.0) * 100.0;
    let burst_ratio = conditions.burst_ratio.max(1.0);
    let share = loss / (loss / burst_ratio + equipment.robustness.max(0.1));
    let ie = equipment.impairment;
    (ie + (worst - ie) * share).min(FULL_BEST)
}

/// Idd, what delay costs even without echo (G.107 §7.4, at the default sensitivity), for `ms`.
fn pure_delay(ms: f64) -> f64 {
    if ms <= 100.0 {
        return 0.0;
    }
    let x = (ms / 100.0).log2();
    let root = |x: f64| (1.0 + x.powi(6)).powf(1.0 / 6.0);
    25.0 * (root(x) - 3.0 * root(x / 3.0) + 2.0)
}

/// G.107 §7 with the telephones, rooms and lines of its table 3.
mod narrow {
    /// Send and receive loudness ratings, dB.
    const SLR: f64 = 8.0;
    const RLR: f64 = 2.0;
    /// Sidetone masking rating and listener sidetone rating, dB.
    const STMR: f64 = 15.0;
    const LSTR: f64 = 18.0;
    /// D-value of the telephone at the send side.
    const DS: f64 = 3.0;
    /// Talker echo loudness rating and weighted echo path loss, dB.
    const TELR: f64 = 65.0;
    const WEPL: f64 = 110.0;
    /// Noise: of the line (dBm0p), at the floor of the receive side (dBmp), in both rooms (dB(A)).
    const NC: f64 = -70.0;
    const NFOR: f64 = -64.0;
    const PS: f64 = 35.0;
    const PR: f64 = 35.0;
    /// Quantisation distortion units.
    const QDU: f64 = 1.0;

    /// Ro - Is: the rating without delay, loss and coding.
    pub(super) fn best() -> f64 {
        signal_to_noise(noise()) - simultaneous(noise())
    }

    /// Id: talker echo, listener echo and delay itself, for `ms` one way.
    pub(super) fn delay_impairment(ms: f64) -> f64 {
        talker_echo(ms) + listener_echo(2.0 * ms) + super::pure_delay(ms)
    }

    /// No: all noise, referred to the 0 dBr point.
    fn noise() -> f64 {
        let olr = SLR + RLR;
        let sent = PS - SLR - DS - 100.0 + 0.004 * (PS - olr - DS - 14.0).powi(2);
        let room = PR + 10.0 * (1.0 + 10f64.powf((10.0 - LSTR) / 10.0)).log10();
        let received = RLR - 121.0 + room + 0.008 * (room - 35.0).powi(2);
        let floor = NFOR + RLR;
        let power = |db: f64| 10f64.powf(db / 10.0);
        10.0 * (power(NC) + power(sent) + power(received) + power(floor)).log10()
    }

    /// Ro.
    fn signal_to_noise(noise: f64) -> f64 {
        15.0 - 1.5 * (SLR + noise)
    }

    /// Is: too loud, sidetone, quantisation.
    fn simultaneous(noise: f64) -> f64 {
        let x = SLR + RLR + 0.2 * (64.0 + noise - RLR);
        let loud = 20.0 * ((1.0 + (x / 8.0).powi(8)).powf(1.0 / 8.0) - x / 8.0);
        let q = 37.0 - 15.0 * QDU.log10();
        let g = 1.07 + 0.258 * q + 0.0602 * q * q;
        let y = (signal_to_noise(noise) - 100.0) / 15.0 + 46.0 / 8.4 - g / 9.0;
        let z = 46.0 / 30.0 - g / 40.0;
        let quantisation = 15.0 * (1.0 + 10f64.powf(y) + 10f64.powf(z)).log10();
        loud + sidetone() + quantisation
    }

    /// Ist, with the echo of an undelayed line.
    fn sidetone() -> f64 {
        let masking = 10f64.powf(-STMR / 10.0) + 10f64.powf(-TELR / 10.0);
        let stmr = -10.0 * masking.log10();
        let part = |offset: f64, width: f64, power: i32| {
            (1.0 + ((stmr + offset) / width).powi(power)).powf(1.0 / f64::from(power))
        };
        12.0 * part(-13.0, 6.0, 8) - 28.0 * part(1.0, 19.4, 35) - 13.0 * part(-3.0, 33.0, 13) + 29.0
    }

    /// Idte.
    fn talker_echo(ms: f64) -> f64 {
        if ms < 1.0 {
            return 0.0;
        }
        let heard = -1.5 * (noise() - RLR);
        let delayed = 40.0 * ((1.0 + ms / 10.0) / (1.0 + ms / 150.0)).log10();
        let terv = TELR - delayed + 6.0 * (-0.3 * ms * ms).exp();
        let half = (heard - (80.0 + 2.5 * (terv - 14.0))) / 2.0;
        (half + (half * half + 100.0).sqrt() - 1.0) * (1.0 - (-ms).exp())
    }

    /// Idle, for a round trip of `ms`.
    fn listener_echo(ms: f64) -> f64 {
        let rle = 10.5 * (WEPL + 7.0) * (ms + 1.0).powf(-0.25);
        let half = (signal_to_noise(noise()) - rle) / 2.0;
        half + (half * half + 169.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PCM: Equipment = Equipment {
        band: Band::Narrow,
        impairment: 0.0,
        robustness: 25.1,
    };

    fn r(equipment: &Equipment, loss: f64, ms: u64) -> f64 {
        let conditions = Conditions {
            loss,
            delay: Duration::from_millis(ms),
            ..Conditions::default()
        };
        rate(equipment, &conditions).r
    }

    /// G.107 §7.7: "the calculation results in a very high quality with a rating factor of R = 93.2".
    #[test]
    fn all_default_values_rate_93_2() {
        let rating = rate(&PCM, &Conditions::default());
        assert_eq!(format!("{:.1}", rating.r), "93.2");
        assert_eq!(format!("{:.2}", rating.mos_cq), "4.41");
        assert!((rating.mos_cq - rating.mos_lq).abs() < 0.005);
    }

    /// G.107 table B.1, lower limits of the categories of user satisfaction, to its rounding.
    #[test]
    fn ratings_stand_for_the_opinions_of_table_b_1() {
        for (r, published) in [
            (90.0, 4.34),
            (80.0, 4.03),
            (70.0, 3.60),
            (60.0, 3.10),
            (50.0, 2.58),
        ] {
            assert!((mos(Band::Narrow, r) - published).abs() < 0.007, "{r}");
        }
        assert_eq!(
            (mos(Band::Narrow, 0.0), mos(Band::Narrow, 100.0)),
            (1.0, 4.5)
        );
        // The cubic dips below 1 at the bottom of the scale.
        assert_eq!(mos(Band::Narrow, 3.0), 1.0);
    }

    /// The scores that annex A of G.107.1 gives for the factors of G.113 table IV.1 (AMR-WB, one ear).
    #[test]
    fn wide_band_scores_are_those_of_the_published_factors() {
        for (ie, published) in [
            (8.0, 4.42),
            (1.0, 4.49),
            (3.0, 4.48),
            (13.0, 4.34),
            (26.0, 4.02),
            (41.0, 3.51),
        ] {
            let coder = Equipment {
                band: Band::Wide,
                impairment: ie,
                robustness: 4.3,
            };
            let rating = rate(&coder, &Conditions::default());
            assert!(
                (rating.mos_cq - published).abs() < 0.006,
                "{ie}: {}",
                rating.mos_cq
            );
        }
    }

    /// G.114 figure 1: up to 150 ms most users notice nothing; at 400 ms many are dissatisfied.
    #[test]
    fn delay_costs_little_at_first_and_then_much() {
        let ratings = [0, 100, 150, 250, 400, 600].map(|ms| r(&PCM, 0.0, ms));
        assert!(ratings.is_sorted_by(|a, b| a >= b), "{ratings:?}");
        assert!(ratings[2] > 88.0 && ratings[4] < 70.0, "{ratings:?}");
        assert!(ratings[4] > 50.0, "{ratings:?}");
    }

    #[test]
    fn delay_disturbs_talking_and_not_listening() {
        let far = Conditions {
            delay: Duration::from_millis(500),
            ..Conditions::default()
        };
        for band in [Band::Narrow, Band::Wide, Band::Full] {
            let near = rate(&Equipment { band, ..PCM }, &Conditions::default());
            let far = rate(&Equipment { band, ..PCM }, &far);
            assert_eq!(near.mos_lq, far.mos_lq);
            assert!(far.mos_cq < near.mos_cq - 0.5, "{band:?}");
        }
    }

    /// With the factors of G.113 for G.711: random loss of 2 % costs 7 points with concealment, 30 without.
    #[test]
    fn loss_costs_what_the_robustness_factor_says() {
        let bare = Equipment {
            robustness: 4.3,
            ..PCM
        };
        assert!((r(&PCM, 0.0, 0) - r(&PCM, 0.02, 0) - 7.0).abs() < 0.1);
        assert!((r(&bare, 0.0, 0) - r(&bare, 0.02, 0) - 30.2).abs() < 0.1);
        assert!(r(&PCM, 1.0, 0) < 20.0);
    }

    #[test]
    fn bursts_cost_more_than_random_loss_and_silly_input_stays_in_range() {
        let bursty = |burst_ratio| {
            let conditions = Conditions {
                loss: 0.05,
                burst_ratio,
                ..Conditions::default()
            };
            rate(&PCM, &conditions).r
        };
        assert!(bursty(3.0) < bursty(1.0));
        for loss in [-1.0, 2.0, f64::NAN] {
            let conditions = Conditions {
                loss,
                burst_ratio: f64::MAX,
                delay: Duration::MAX,
            };
            let rating = rate(&PCM, &conditions);
            assert!((1.0..=4.5).contains(&rating.mos_cq), "{rating:?}");
        }
    }
}
