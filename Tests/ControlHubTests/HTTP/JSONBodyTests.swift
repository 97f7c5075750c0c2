import Foundation
import Testing

@testable import ControlHub

@Suite("A body that is no JSON")
struct JSONBodyTests {
    @Test(
        "is told where it ceases to be, or what else is wrong with it",
        arguments: [
            (Data(#"{"a" 1}"#.utf8), "line 1, column 6"), (Data("{\n  \"a\": [1,]}".utf8), "comma too many"),
            (Data([0x7B, 0x22, 0xFF, 0x22]), "UTF-8"), (Data(#"{"a":"\ud800"}"#.utf8), "surrogate"),
            (Data(String(repeating: "[", count: 100).utf8), "deeper than 64 levels"),
        ]
    )
    func told(body: Data, words: String) throws {
        do {
            _ = try JSONCoding.value(body)
            Issue.record("it was taken")
        } catch let error as HubError {
            #expect(error.code == .invalidRequest && error.detail.contains(words), "\(error.detail)")
        }
    }
}
