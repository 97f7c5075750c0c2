import Glibc

/// What went wrong with the engine, for a person: what happened, to what, and what to do.
enum EngineAdvice {
    /// - Parameter number: `errno` of the connection.
    static func unreachable(_ socketPath: String, _ number: Int32) -> String {
        switch access(socketPath, F_OK) == 0 ? number : errno {
        case ENOENT, ENOTDIR:
            "there is no container engine: \(socketPath) does not exist; start Docker (systemctl start docker), install it "
                + "(apt-get install docker.io), or set docker_socket to the socket of the engine"
        case EACCES, EPERM:
            "the agent may not use the container engine at \(socketPath); let it run as root or in the socket's group "
                + "(usermod -aG docker USER), which is as good as root on this machine"
        case ECONNREFUSED:
            "the container engine at \(socketPath) does not run; start it: systemctl start docker"
        case let number:
            "the container engine at \(socketPath) cannot be reached: \(String(errno: number)); see that it runs: "
                + "systemctl status docker"
        }
    }
}
