import Foundation
import Testing

@testable import ControlHub

@Suite("Halves of surrogate pairs in a packet")
struct JSONEscapesTests {
    @Test(
        "are read as U+FFFD where they stand alone, and as what they mean where they do not",
        arguments: [
            (#"{"text":"cut \ud83d"}"#, "cut \u{FFFD}"), (#"{"text":"\ude00 cut"}"#, "\u{FFFD} cut"),
            (#"{"text":"\ud83d\ud83d\ude00"}"#, "\u{FFFD}😀"), (#"{"text":"\uD83D\uDE00"}"#, "😀"),
            (#"{"text":"\\ud83d"}"#, #"\ud83d"#), (#"{"text":"\ud83dx"}"#, "\u{FFFD}x"),
        ]
    )
    func halves(json: String, text: String) {
        let packet = MonitorPacketOperations.parse(Data(json.utf8))
        #expect(packet["text"]?.stringValue == text)
    }

    @Test(
        "do no harm in what is no JSON",
        arguments: ["\\", #"\u"#, #"\ud8"#, #"{"a":"\ud83d\"#, #"\ud83d\u"#, #"\u+123"#]
    )
    func broken(text: String) {
        #expect(JSONEscapes.mended(Array(text.utf8)).count == text.utf8.count)
    }
}
