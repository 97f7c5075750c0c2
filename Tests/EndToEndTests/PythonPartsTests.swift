import Foundation
import Testing

/// What we ship in Python and can be tried without hub and agent has tests of its own in Python.
@Suite("What is written in Python")
struct PythonPartsTests {
    @Test("passes its own tests", arguments: ["Tests/Samples", "Tests/Nanobot"])
    func passes(folder: String) async throws {
        let bench = try Workbench()
        let run = try Program(
            "/usr/bin/env",
            ["python3", "-B", "-m", "unittest", "discover", "-s", Program.checkout.appending(path: folder).path],
            in: bench.folder
        )
        #expect(try await run.exit() == 0, "\(run.text)")
        #expect(run.text.contains("OK"), "\(run.text)")
    }
}
