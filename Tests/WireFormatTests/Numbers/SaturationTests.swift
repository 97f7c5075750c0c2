import Testing
import WireFormat

@Suite("Conversions of numbers from outside")
struct SaturationTests {
    @Test("A real number becomes the nearest whole one, and what is no number 0")
    func reals() {
        #expect(Int64(saturating: .nan) == 0 && UInt64(saturating: .nan) == 0)
        #expect(Int64(saturating: .infinity) == .max && Int64(saturating: -.infinity) == .min)
        #expect(Int64(saturating: 0x1p63) == .max && Int64(saturating: -0x1p63) == .min)
        #expect(UInt64(saturating: 0x1p64) == .max && UInt64(saturating: -1) == 0 && UInt64(saturating: -0.5) == 0)
        #expect(UInt64(saturating: 1e308) == .max && Int(saturating: -1e308) == .min)
        #expect(Int32(saturating: 2_147_483_647.9) == .max && Int32(saturating: 2_147_483_648) == .max)
        #expect(UInt8(saturating: 255.9) == 255 && UInt8(saturating: 256) == 255)
        #expect(Int(saturating: 1.9) == 1 && Int(saturating: -1.9) == -1)
        #expect(Int64(saturating: 0x1p53) == 1 << 53)
    }

    @Test("Text is a number when it is digits within the bounds, and nothing else")
    func decimals() {
        #expect(UInt64(decimal: "9007199254740992") == 1 << 53)
        #expect(UInt64(decimal: "9007199254740993") == nil && UInt64(decimal: "18446744073709551616") == nil)
        #expect(Int(decimal: "007") == 7 && UInt8(decimal: "255") == 255 && UInt8(decimal: "256") == nil)
        for text in ["", "-1", "+1", " 1", "1 ", "1e3", "0x1", "1.0", "١"] {
            #expect(Int(decimal: text) == nil, "\(text)")
        }
    }

    @Test("Sums, differences and products end at the limits")
    func arithmetic() {
        #expect(UInt64.max.clampedAdding(1) == .max && Int64.max.clampedAdding(1) == .max)
        #expect(Int64.min.clampedAdding(-1) == .min && Int64(1).clampedAdding(-2) == -1)
        #expect(UInt64(1).clampedSubtracting(2) == 0 && Int64.min.clampedSubtracting(1) == .min)
        #expect(Int64.max.clampedSubtracting(-1) == .max && Int64(0).clampedSubtracting(.min) == .max)
        #expect(UInt64.max.clampedMultiplied(by: 2) == .max && Int64.max.clampedMultiplied(by: -2) == .min)
        #expect(Int64.min.clampedMultiplied(by: -1) == .max && Int64.min.clampedMultiplied(by: 2) == .min)
    }

    @Test("A duration is at most a hundred years, and counts in whole units without overflow")
    func durations() {
        let (least, most) = (OutsideBounds.duration.lowerBound, OutsideBounds.duration.upperBound)
        #expect(Duration.seconds(clamping: Int64.max) == most && .seconds(clamping: Int64.min) == least)
        #expect(Duration.seconds(clamping: UInt64.max) == most && .milliseconds(clamping: UInt64.max) == most)
        #expect(Duration.seconds(clamping: Double.infinity) == most && .seconds(clamping: -1e308) == least)
        #expect(Duration.seconds(clamping: Double.nan) == .zero && .seconds(clamping: 1.5) == .milliseconds(1500))
        #expect(Duration.microseconds(clamping: Int64.max) == most && .milliseconds(clamping: -1) == .milliseconds(-1))
        #expect(Duration.seconds(Int64.max).wholeMilliseconds == .max)
        #expect(Duration.seconds(Int64.min).wholeMicroseconds == .min)
        #expect(Duration.milliseconds(-1500).wholeMilliseconds == -1500)
        #expect(Duration.microseconds(1_500_001).wholeMicroseconds == 1_500_001)
        #expect(ContinuousClock.now + most > .now)
    }

    @Test("Only numbers beyond the bounds are replaced in JSON, and text never")
    func json() {
        let bound = "9007199254740992"
        let cases = [
            ("18446744073709551615", bound), ("-18446744073709551615", "-\(bound)"), ("1e308", bound),
            ("-1E+400", "-\(bound)"),
            (bound, bound), ("9007199254740993", bound), ("0.12345678901234567890", "0.12345678901234567890"),
            ("1e-400", "1e-400"), (#""18446744073709551615""#, #""18446744073709551615""#),
            (#"{"a\"9":[99999999999999999,1],"b":"\\"}"#, #"{"a\"9":[\#(bound),1],"b":"\\"}"#),
            (#"{"a":1e999,"b":2}"#, #"{"a":\#(bound),"b":2}"#), ("", ""), (#""open"#, #""open"#), (#""\"#, #""\"#),
            ("--1234567890123456789", "--1234567890123456789"),
        ]
        for (text, expected) in cases {
            #expect(String(decoding: JSONNumbers.bounded(Array(text.utf8)), as: UTF8.self) == expected, "\(text)")
        }
    }
}
