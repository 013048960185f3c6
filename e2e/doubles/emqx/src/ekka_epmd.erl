%% Where nodes are found without a port mapper: at 4370 plus the number that ends the name, each node on an address of its own.
-module(ekka_epmd).

-export([start_link/0, register_node/2, register_node/3, port_please/2, port_please/3, address_please/3,
         listen_port_please/2, names/1, offset/1]).

-define(PORT, 4370).

start_link() ->
    ignore.

register_node(_Name, _Port) ->
    {ok, rand:uniform(3)}.

register_node(_Name, _Port, _Family) ->
    {ok, rand:uniform(3)}.

port_please(Name, _Host) ->
    {port, ?PORT + offset(to_list(Name)), 5}.

port_please(Name, Host, _Timeout) ->
    port_please(Name, Host).

address_please(_Name, Host, Family) ->
    inet:getaddr(Host, Family).

%% A command that talks to a node listens on a port that nobody knows.
listen_port_please(Name, _Host) ->
    case lists:member(hd(string:lexemes(to_list(Name), "_")), ["maint", "remsh"]) of
        true -> {ok, 0};
        false -> {ok, ?PORT + offset(to_list(Name))}
    end.

names(_Host) ->
    {error, address}.

%% The number at the end of a node's name in front of its host: `emqx` 0, `emqx2` 2.
offset(Name) ->
    [Short | _] = string:split(Name, "@"),
    case re:run(Short, "[0-9]+$", [{capture, first, list}]) of
        {match, [Digits]} -> list_to_integer(Digits);
        nomatch -> 0
    end.

to_list(Name) when is_atom(Name) -> atom_to_list(Name);
to_list(Name) -> Name.
