import Foundation
import Glibc

/// One of the built programs, running as a child process of the test.
///
/// Its output goes to a file in the test's folder, so that a failing test can show what the program said and nothing
/// blocks on a full pipe. Killed by pid when the test lets go of it.
final class Program: @unchecked Sendable {  // every mutable part is guarded by `lock`
    let name: String
    let pid: pid_t
    let output: URL
    private let lock = NSLock()
    private var status: Int32?

    /// Starts `executable`, one of ours by its name or any other by its absolute path, with the environment given and
    /// nothing else inherited but PATH.
    init(_ executable: String, _ arguments: [String], environment: [String: String] = [:], in folder: URL) throws {
        let path = executable.hasPrefix("/") ? executable : Self.binaries.appending(path: executable).path
        name = URL(fileURLWithPath: path).lastPathComponent
        output = folder.appending(path: "\(name)-\(UInt32.random(in: 0 ... .max)).log")
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, output.path, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        let variables = environment.merging(
            ["PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin", "HOME": folder.path]
        ) { given, _ in given }
        let argv = CStrings([path] + arguments)
        let envp = CStrings(variables.map { "\($0)=\($1)" })
        var pid: pid_t = 0
        let result = posix_spawn(&pid, path, &actions, nil, argv.pointers, envp.pointers)
        guard result == 0 else {
            throw Failure("cannot start \(path): \(String(cString: strerror(result)))")
        }
        self.pid = pid
    }

    deinit {
        if exitStatus(wait: false) == nil {
            Glibc.kill(pid, SIGKILL)
            _ = exitStatus(wait: true)
        }
    }

    /// Everything the program has written so far; what is no UTF-8, such as a file's name, shows as U+FFFD.
    var text: String {
        (try? Data(contentsOf: output)).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    func signal(_ number: Int32) {
        Glibc.kill(pid, number)
    }

    /// Ends it the hard way and reaps it.
    func kill() {
        Glibc.kill(pid, SIGKILL)
        _ = exitStatus(wait: true)
    }

    /// Waits for the program to end by itself.
    ///
    /// - Returns: its exit code; a signal as 128 + its number.
    func exit(within limit: Duration = .seconds(120)) async throws -> Int32 {
        try await eventually("\(name) ends", within: limit, or: { self.text }) { self.exitStatus(wait: false) }
    }

    private func exitStatus(wait: Bool) -> Int32? {
        lock.withLock {
            if let status { return status }
            var raw: Int32 = 0
            guard waitpid(pid, &raw, wait ? 0 : WNOHANG) == pid else { return nil }
            let signal = raw & 0x7f
            status = signal == 0 ? (raw >> 8) & 0xff : 128 + signal
            return status
        }
    }

    /// Where `swift build` puts the programs: the folder of the test bundle itself.
    static let binaries: URL = {
        var folder = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
        while folder.path != "/" {
            if FileManager.default.isExecutableFile(atPath: folder.appending(path: "edge-agent").path) { return folder }
            folder = folder.deletingLastPathComponent()
        }
        return URL(fileURLWithPath: FileManager.default.currentDirectoryPath).appending(path: ".build/debug")
    }()

    /// Root of the checkout.
    static let checkout = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
}

/// Runs a program to its end.
///
/// - Returns: exit code and everything it wrote.
func run(
    _ executable: String,
    _ arguments: [String],
    environment: [String: String] = [:],
    within limit: Duration = .seconds(120),
    in folder: URL
) async throws -> (status: Int32, text: String) {
    let program = try Program(executable, arguments, environment: environment, in: folder)
    let status = try await program.exit(within: limit)
    return (status, program.text)
}

/// A null-terminated array of C strings that lives as long as this object.
private final class CStrings {
    let pointers: [UnsafeMutablePointer<CChar>?]

    init(_ strings: [String]) {
        pointers = strings.map { strdup($0) } + [nil]
    }

    deinit {
        pointers.forEach { free($0) }
    }
}

struct Failure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// Asks until there is an answer: the one way in which these tests wait for another process.
///
/// - Parameters:
///   - what: names the wait in the failure.
///   - limit: long enough for a machine that is busy with other things; waiting ends with the answer.
///   - evidence: shown when time is up.
func eventually<Value>(
    _ what: String,
    within limit: Duration = .seconds(120),
    or evidence: () async throws -> String = { "" },
    _ probe: () async throws -> Value?
) async throws -> Value {
    let clock = ContinuousClock()
    let deadline = clock.now.advanced(by: limit)
    var lastError: (any Error)?
    while clock.now < deadline {
        do {
            if let value = try await probe() { return value }
            lastError = nil
        } catch {
            lastError = error
        }
        // Another process gives no signal to wait for; the pause only spares the processor.
        try await Task.sleep(for: .milliseconds(50))
    }
    let cause = lastError.map { "\nlast error: \($0)" } ?? ""
    throw Failure("waited \(limit) in vain: \(what)\(cause)\n\((try? await evidence()) ?? "")")
}
