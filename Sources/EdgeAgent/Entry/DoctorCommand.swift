import ArgumentParser
import Glibc
import Synchronization
import WebSocketKitLite

struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Says why this node is not online, step by step, and what to do.",
        discussion: """
            Walks from the settings to the hub's answer the way `edge-agent run` does, with the same options, and does \
            not disturb an agent that runs. The exit status is 0 when everything is well and 1 when something failed.
            """
    )

    @OptionGroup var options: AgentOptions

    @Option(help: ArgumentHelp("The node's token; prefer EDGE_TOKEN or --token-file.", valueName: "token"))
    var token: String?

    @Option(help: ArgumentHelp("File with the node's token.", valueName: "file"))
    var tokenFile: String?

    @OptionGroup var bots: BotOptions

    @Flag(help: "One JSON object instead of lines.")
    var json = false

    func run() async throws {
        let loop: EpollLoop
        do {
            loop = try EpollLoop.start()
        } catch {
            throw AgentError(.unavailable, error.message)
        }
        let checks = Mutex<[DoctorCheck]>([])
        let isColoured = Terminal.outputIsTerminal
        let doctor = Doctor { [json] check in
            checks.withLock { $0.append(check) }
            // Each as it is found: a step may take its whole time limit.
            if !json { Terminal.writeLine(DoctorReport.line(check, isColoured: isColoured)) }
        }
        doctor.report(IsolationCheck.check(.current()))
        // `try?`: what cannot be read is told with the settings.
        let configuration = try? configuration()
        let profiles: DoctorCheck? =
            if let configuration { await ProfilesCheck.check(configuration, loop: loop) } else { nil }
        if let profiles { doctor.report(profiles) }
        let isHealthy = await doctor.run(settings(loop)) && profiles?.status != .failed
        if json { Terminal.writeLine(try DoctorReport.json(checks.withLock { $0 })) }
        if !isHealthy { throw ExitCode(1) }
    }

    private func configuration() throws(AgentError) -> AgentConfiguration {
        var flags = bots.flags
        flags[.token] = token
        flags[.tokenFile] = tokenFile
        return try options.resolve(flags)
    }

    private func settings(_ loop: EpollLoop) -> Result<Doctor.Settings, AgentError> {
        do throws(AgentError) {
            return .success(try Doctor.Settings(try configuration(), loop: loop))
        } catch {
            return .failure(error)
        }
    }
}

extension Doctor.Settings {
    /// - Throws: `AgentError` where there is not even a hub to dial.
    init(_ configuration: AgentConfiguration, loop: EpollLoop) throws(AgentError) {
        let credential = try Self.credential(configuration)
        guard let hubURL = credential?.hubURL ?? configuration.hubURL else {
            throw AgentError(
                .configuration,
                "state directory \(configuration.stateDirectory) holds no pairing and no hub was given; run `edge-agent "
                    + "enroll --hub URL --code CODE`, or give --hub"
            )
        }
        let authorityFile = credential == nil ? configuration.authorityFile : credential?.authorityFile
        hub = try HubConnection(
            url: hubURL,
            authorityFile: authorityFile,
            pinSHA256: credential == nil ? configuration.pinSHA256 : credential?.pinSHA256,
            configuration: configuration,
            loop: loop
        )
        do throws(AgentError) {
            policy = .success(PolicyAdvice(policy: try PolicyFile.load(configuration.policyFile)))
        } catch {
            policy = .failure(error)
        }
        token = credential?.token
        nodeID = credential?.nodeID ?? ""
        var parts = [hub.description]
        if let authorityFile { parts.append("authority \(authorityFile)") }
        if let certificate = configuration.clientCertificate { parts.append("client certificate \(certificate)") }
        parts.append(
            credential == nil
                ? "not paired"
                : nodeID.isEmpty ? "with a token" : "paired as \(nodeID) in \(configuration.stateDirectory)"
        )
        if let openness = StateDirectory(existing: configuration.stateDirectory).openness { parts.append(openness) }
        detail = parts.joined(separator: ", ")
    }

    /// Nil where this machine has neither a token nor a pairing. Makes no directory, unlike the commands that need one.
    private static func credential(_ configuration: AgentConfiguration) throws(AgentError) -> Credential? {
        let path = configuration.stateDirectory
        if configuration.token == nil {
            guard access(path, F_OK) == 0 else { return nil }
            guard access(path, R_OK | X_OK) == 0 else {
                throw AgentError(
                    .noPermission,
                    "state directory \(path) cannot be read by this user; run the doctor as the agent's user, for "
                        + "instance: sudo -u edge-agent edge-agent doctor"
                )
            }
        }
        let store = IdentityStore(directory: StateDirectory(existing: path))
        if configuration.token == nil, try store.load() == nil { return nil }
        return try Credential(configuration, store)
    }
}
