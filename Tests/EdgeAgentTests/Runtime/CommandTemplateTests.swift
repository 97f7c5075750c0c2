import Testing

@testable import EdgeAgent

@Suite struct CommandTemplateTests {
    @Test(
        "A command line is split by quoting rules and nothing is expanded",
        arguments: [
            ("a b  c", ["a", "b", "c"]),
            (#"a 'b c' "d 'e""#, ["a", "b c", "d 'e"]),
            (#"a\ b "c\"d\\e\n" 'f\'"#, ["a b", #"c"d\e\n"#, #"f\"#]),
            ("x '' $HOME `id` *;", ["x", "", "$HOME", "`id`", "*;"]),
        ]
    )
    func splits(_ line: String, _ words: [String]) throws {
        #expect(try CommandTemplate(parsing: line).words == words)
    }

    @Test(
        "An unclosed quote, a lone backslash and nothing at all are refused",
        arguments: ["a 'b", "a \"b", "a\\", "  "]
    )
    func refuses(_ line: String) {
        #expect(throws: RuntimeError.self) { _ = try CommandTemplate(parsing: line) }
    }

    @Test("Values are filled in once; other braces stay")
    func fills() {
        let template = CommandTemplate(words: ["{config}", "--x={workspace}/{unknown}", "{bot_id}{", "}{port}"])
        let values = ["config": "{port}", "workspace": "/w", "bot_id": "a", "port": "1"]
        #expect(template.filled(values) == ["{port}", "--x=/w/{unknown}", "a{", "}1"])
    }
}
