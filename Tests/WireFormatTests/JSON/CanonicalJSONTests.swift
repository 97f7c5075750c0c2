import Testing

@testable import WireFormat

@Suite("A configuration")
struct CanonicalJSONTests {
    @Test(
        "says the same however it is written",
        arguments: [
            (#"{"a":1,"b":{"c":[1,2],"d":null}}"#, #" { "b" : {"d":null, "c":[1, 2]}, "a":1 } "#),
            (#"{"n":1.0}"#, #"{"n":1}"#), (#"{"n":10e-1}"#, #"{"n":1E0}"#), (#"{"n":-0.0}"#, #"{"n":0}"#),
            (#"{"n":1200}"#, #"{"n":1.2e3}"#), (#"{"t":"é/"}"#, #"{"t":"\u00e9\/"}"#),
            (#"{"a":1,"a":2}"#, #"{"a":2}"#), (#"{"n":1e99999999999999999999}"#, #"{"n":1e99999999999999999999}"#),
        ]
    )
    func same(one: String, other: String) {
        #expect(CanonicalJSON.isSame(Array(one.utf8), Array(other.utf8)))
    }

    @Test(
        "says something else where a value differs",
        arguments: [
            (#"{"id":1234567890123456789}"#, #"{"id":1234567890123456788}"#), (#"{"a":1}"#, #"{"a":"1"}"#),
            (#"{"a":[1,2]}"#, #"{"a":[2,1]}"#), (#"{"a":[1,2]}"#, #"{"a":[12]}"#), (#"{"a":-1}"#, #"{"a":1}"#),
            (#"{"a":"b","c":"d"}"#, #"{"a":"b\",\"c\":\"d"}"#), (#"{"a":null}"#, "{}"), (#"{"n":10}"#, #"{"n":1}"#),
            (#"{"n":0.1}"#, #"{"n":0.10000000000000001}"#), (#"{"a":true}"#, #"{"a":false}"#),
            (#"{"n":1e99999999999999999999}"#, #"{"n":1e99999999999999999998}"#), ("{}", "{"), ("[]", "{}"),
        ]
    )
    func different(one: String, other: String) {
        #expect(!CanonicalJSON.isSame(Array(one.utf8), Array(other.utf8)))
    }

    @Test("of any bytes does no harm")
    func anyBytes() {
        var generator = SystemRandomNumberGenerator()
        let words = [
            "true", "false", "null", "{", "}", "[", "]", "\"", ":", ",", "-", ".", "e", "0", "1", "\\", "u00e9", " ",
        ]
        for _ in 0..<20_000 {
            let inside = (0..<Int.random(in: 0...6, using: &generator)).map { _ in
                words.randomElement(using: &generator) ?? ""
            }
            let bytes = Array((#"{"a":"# + inside.joined() + "}").utf8)
            let text = CanonicalJSON.text(bytes)
            #expect((text != nil) == JSONScanner.isObject(bytes), "\(inside.joined())")
        }
    }
}
