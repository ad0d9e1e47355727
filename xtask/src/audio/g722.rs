//! G.722 at 64 kbit/s, decoding only, written apart from the library's own so that neither can hide
//! the other's faults. The names are those of the Recommendation's block diagrams.

/// Decodes one stream from its beginning.
pub(crate) struct Decoder {
    low: Band,
    high: Band,
    /// The receive quadrature mirror filter's memory.
    qmf: [i32; 24],
}

/// One band's adaptive predictor and quantiser.
#[derive(Default)]
struct Band {
    s: i32,
    sz: i32,
    r: [i32; 3],
    a: [i32; 3],
    p: [i32; 3],
    d: [i32; 7],
    b: [i32; 7],
    nb: i32,
    det: i32,
}

const WL: [i32; 8] = [-60, -30, 58, 172, 334, 538, 1198, 3042];
const RL42: [usize; 16] = [0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0];
const WH: [i32; 3] = [0, -214, 798];
const RH2: [usize; 4] = [2, 1, 2, 1];
const ILB: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];
const QM2: [i32; 4] = [-7408, -1616, 7408, 1616];
const QM4: [i32; 16] = [
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584,
    1200, 0,
];
const QM6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232,
    -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776,
    -2400, -2032, -1688, -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280,
    11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776,
    2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

impl Decoder {
    pub(crate) fn new() -> Self {
        let band = |det| Band {
            det,
            ..Band::default()
        };
        Self {
            low: band(32),
            high: band(8),
            qmf: [0; 24],
        }
    }

    /// Two samples at 16 kHz for every byte.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Vec<i16> {
        bytes.iter().flat_map(|byte| self.byte(*byte)).collect()
    }

    fn byte(&mut self, byte: u8) -> [i16; 2] {
        let code = usize::from(byte & 0x3F);
        let rlow = self.low.s + ((self.low.det * QM6[code]) >> 15);
        let rlow = rlow.clamp(-16_384, 16_383);
        let dlow = (self.low.det * QM4[code >> 2]) >> 15;
        self.low.scale(WL[RL42[code >> 2]], 18_432, 8);
        self.low.predict(dlow);

        let code = usize::from(byte >> 6);
        let dhigh = (self.high.det * QM2[code]) >> 15;
        let rhigh = (dhigh + self.high.s).clamp(-16_384, 16_383);
        self.high.scale(WH[RH2[code]], 22_528, 10);
        self.high.predict(dhigh);

        self.qmf.copy_within(2.., 0);
        self.qmf[22] = rlow + rhigh;
        self.qmf[23] = rlow - rhigh;
        let sum = |first: usize, turned: bool| -> i32 {
            let tap = |i: usize| if turned { QMF[11 - i] } else { QMF[i] };
            (0..12).map(|i| self.qmf[2 * i + first] * tap(i)).sum()
        };
        let (even, odd) = (sum(0, false), sum(1, true));
        [odd, even].map(|sample| (sample >> 11).clamp(-32_768, 32_767) as i16)
    }
}

impl Band {
    /// Adapts the quantiser's scale factor.
    fn scale(&mut self, step: i32, most: i32, shift: i32) {
        self.nb = (((self.nb * 127) >> 7) + step).clamp(0, most);
        let mantissa = ILB[((self.nb >> 6) & 31) as usize];
        let exponent = shift - (self.nb >> 11);
        let value = if exponent < 0 {
            mantissa << -exponent
        } else {
            mantissa >> exponent
        };
        self.det = value << 2;
    }

    /// Block 4 of the Recommendation: adapts the predictor to the quantised difference.
    fn predict(&mut self, d: i32) {
        self.d[0] = d;
        self.r[0] = saturate(self.s + d);
        self.p[0] = saturate(self.sz + d);
        let a2 = self.second_pole();
        let a1 = self.first_pole(a2);
        let gain = if d == 0 { 0 } else { 128 };
        for i in 1..7 {
            let step = if (self.d[i] ^ d) < 0 { -gain } else { gain };
            self.b[i] = saturate(step + ((self.b[i] * 32_640) >> 15));
        }
        for i in (1..7).rev() {
            self.d[i] = self.d[i - 1];
        }
        for i in (1..3).rev() {
            self.r[i] = self.r[i - 1];
            self.p[i] = self.p[i - 1];
        }
        (self.a[1], self.a[2]) = (a1, a2);
        let pole = |i: usize| (self.a[i] * saturate(2 * self.r[i])) >> 15;
        let poles = saturate(pole(1) + pole(2));
        let zero = |i: usize| (self.b[i] * saturate(2 * self.d[i])) >> 15;
        self.sz = saturate((1..7).map(zero).sum());
        self.s = saturate(poles + self.sz);
    }

    fn second_pole(&self) -> i32 {
        let quadruple = saturate(self.a[1] << 2);
        let turned = if (self.p[0] ^ self.p[1]) < 0 {
            quadruple
        } else {
            -quadruple
        };
        let step = if (self.p[0] ^ self.p[2]) < 0 {
            -128
        } else {
            128
        };
        let next = (turned.min(32_767) >> 7) + step + ((self.a[2] * 32_512) >> 15);
        next.clamp(-12_288, 12_288)
    }

    fn first_pole(&self, a2: i32) -> i32 {
        let step = if (self.p[0] ^ self.p[1]) < 0 {
            -192
        } else {
            192
        };
        let bound = saturate(15_360 - a2);
        saturate(step + ((self.a[1] * 32_640) >> 15)).clamp(-bound, bound)
    }
}

fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}
