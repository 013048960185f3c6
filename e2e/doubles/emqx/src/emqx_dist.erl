%% Where nodes are found without a port mapper: every node of a cluster listens on the same port, each on an address of its own.
-module(emqx_dist).

-export([start_link/0, register_node/2, register_node/3, port_please/2, port_please/3, address_please/3,
         listen_port_please/2, names/1]).

start_link() ->
    ignore.

register_node(_Name, _Port) ->
    {ok, rand:uniform(3)}.

register_node(_Name, _Port, _Family) ->
    {ok, rand:uniform(3)}.

port_please(_Name, _Host) ->
    {port, port(), 5}.

port_please(Name, Host, _Timeout) ->
    port_please(Name, Host).

address_please(_Name, Host, Family) ->
    inet:getaddr(Host, Family).

%% A command that talks to a node listens on a port that nobody knows.
listen_port_please(Name, _Host) ->
    case lists:prefix("maint_", to_list(Name)) of
        true -> {ok, 0};
        false -> {ok, port()}
    end.

names(_Host) ->
    {error, address}.

port() ->
    {ok, [[Port]]} = init:get_argument(emqx_dist_port),
    list_to_integer(Port).

to_list(Name) when is_atom(Name) -> atom_to_list(Name);
to_list(Name) -> Name.
