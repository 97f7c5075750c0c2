import Testing

@testable import WebSocketKitLite

@Suite("Sec-WebSocket-Extensions")
struct ExtensionHeaderTests {
    private func parse(_ fields: String...) -> [String]? {
        ExtensionHeader.parse(HeaderFields(fields.map { (name: "sec-websocket-extensions", value: $0) }))?
            .map(\.description)
    }

    @Test("reads names, parameters, lists and several fields")
    func reads() {
        #expect(parse() == [])
        #expect(parse("foo") == ["foo"])
        #expect(parse("foo, bar; baz=2") == ["foo", "bar; baz=2"])
        #expect(parse("a;b;c = d", "e") == ["a; b; c=d", "e"])
        #expect(parse(#"a; b="1,2""#) == nil)
        #expect(parse(#"a; b="12";c , d"#) == ["a; b=12; c", "d"])
        #expect(parse("a,, b ,") == ["a", "b"])
    }

    @Test(
        "refuses what is no extension list",
        arguments: ["a b", "a; ", "a; =3", "a; b=", "; a", #"a; b=""#, "a;b=c d"]
    )
    func refuses(field: String) {
        #expect(parse(field) == nil)
    }
}
