import Testing

@testable import WireFormat

@Suite("The members of a JSON text")
struct WrittenMembersTests {
    @Test("are found as they are written")
    func found() throws {
        let text = Array(#" { "a" : 1.0 , "b\u0062":{"x": [1e999,"}"]},"a":"\ud83d" } "#.utf8)
        let found = try #require(WrittenMembers.find(text))
        #expect(found.map(\.name) == ["a", "bb", "a"])
        #expect(
            found.map { String(decoding: text[$0.value], as: UTF8.self) }
                == ["1.0", #"{"x": [1e999,"}"]}"#, #""\ud83d""#]
        )
        #expect(WrittenMembers.find(Array("{}".utf8))?.isEmpty == true)
        for text in ["", "[]", "{", "{}x", #"{"a":}"#, #"{"a":1,}"#] {
            #expect(WrittenMembers.find(Array(text.utf8)) == nil)
        }
    }

    @Test(
        "that stand twice are told, at any depth and however they are escaped",
        arguments: [
            (#"{"a":1,"a":2}"#, "a"), (#"{"a":[0,{"b":1,"c":2,"\u0062":3}]}"#, "b"), (#"{"":1,"":1}"#, ""),
            (#"[{"k":{"x":{},"x":[]}}]"#, "x"),
        ]
    )
    func doubled(text: String, name: String) {
        #expect(WrittenMembers.doubled(Array(text.utf8))?.name == name)
    }

    @Test(
        "that stand once each, or in what is no JSON or is not looked into, are not",
        arguments: [
            "{}", #"{"a":{"a":{"a":1}},"b":[{"x":1},{"x":2}]}"#, #"{"kept":{"a":1,"a":2}}"#, "nonsense", #"{"a":1,"#,
        ]
    )
    func single(text: String) {
        #expect(WrittenMembers.doubled(Array(text.utf8), except: ["kept"]) == nil)
    }
}
